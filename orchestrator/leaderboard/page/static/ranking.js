// The ranking: a row per method, size and model; ranks, ties and intervals are those of the whole board whatever is filtered.

function rankingSection(board) {
  const rows = shownRows(board);
  if (board.rows.length === 0) return [paragraph("No row yet: no trial of this sweep has been recorded.")];
  if (rows.length === 0) return [paragraph("No row passes the filters.")];
  const notes = footnotesOf(board);
  const scales = new Map(board.models.map((model) => [model, scoreScale(board, model)]));
  const columns = rankingColumns(board, rows, notes, scales);
  const groups = shownModels(board).map((model) => ({
    heading: board.models.length > 1 ? modelHeading(board, model) : null,
    heads: { score: scales.get(model) && barAxis(scales.get(model)) },
    rows: rows.filter((row) => row.model === model),
  }));
  const options = {
    columns,
    groups: groups.filter((group) => group.rows.length),
    below: (row, span) => belowRow(board, row, span),
    rowAttributes,
  };
  const hidden = rows.length < board.rows.length;
  return [
    hidden &&
      element(
        "p",
        { class: "hint" },
        `${rows.length} of ${board.rows.length} rows; ranks, letters and intervals are those of the whole board.`,
      ),
    scrolling("ranking", "Ranking, scrolls sideways", sortable("ranking", options)),
    footnoteList(board, notes),
  ];
}

function rowAttributes(row) {
  const kinds = [row.untuned && "untuned", row.refused && "refused", isFaded(row.method) && !row.untuned && "faded"];
  return { class: kinds.filter(Boolean).join(" ") || null, "data-row": row.id };
}

function modelHeading(board, model) {
  const rows = board.rows.filter((row) => row.model === model);
  return [nameElement(model, 80), element("small", {}, ` ${plural(rows.length, "row")}`)];
}

function rankingColumns(board, rows, notes, scales) {
  const task = shownTask(board);
  const others = task === "" ? [...board.tasks.keys()] : [];
  const columns = [
    { key: "method", label: "method", words: true, value: (row) => row.name, cell: (row) => methodCell(row, notes) },
    {
      key: "rank",
      label: "rank",
      value: (row) => row.rank,
      cell: rankCell,
      hint: "Place among the rows of one model on average, with the places that the comparisons leave open",
    },
    scoreColumn(board, task, scales),
    {
      key: "ties",
      label: "ties",
      words: true,
      value: (row) => row.tie_letters || null,
      cell: (row) => row.tie_letters || "",
      hint: "Rows of a model that share a letter cannot be told apart",
    },
    ...others.map((name) => taskColumn(board, name)),
    {
      key: "trainable",
      label: "parameters",
      value: (row) => row.trainable,
      cell: (row) => element("span", { title: whole(row.trainable) }, compact(row.trainable)),
    },
    {
      key: "failures",
      label: "seeds",
      value: (row) => row.failures,
      cell: seedsCell,
      descending: true,
      hint: "Report runs that finished, of those planned; sorted by failures",
    },
  ];
  return rows.some((row) => row.tie_letters) ? columns : columns.filter((column) => column.key !== "ties");
}

function methodCell(row, notes) {
  const open = isOpen(row.id);
  const button = element(
    "button",
    {
      type: "button",
      class: "opener",
      id: `row-${row.id}`,
      "aria-expanded": String(open),
      on: { click: () => setOpen(row.id, !open, { quiet: false }) },
    },
    glyph(row.method),
    row.untuned ? element("i", {}, "untuned model") : rowName(row),
  );
  const numbers = row.marks.map((mark) => notes.get(mark).number);
  const sup = numbers.map((number, n) => [
    n ? "," : "",
    element("a", { href: `#note-${number}`, "aria-label": `note ${number}` }, String(number)),
  ]);
  return element("div", { class: "method-cell" }, button, numbers.length ? element("sup", {}, sup) : null);
}

function rankCell(row) {
  if (!isNumber(row.rank))
    return element("span", { class: "muted", title: row.refused ? "not applicable" : "incomplete, not ranked" }, ABSENT);
  const [low, high] = row.rank_interval ?? [row.rank, row.rank];
  return [element("b", {}, String(row.rank)), low === high ? null : element("small", { class: "beside" }, `${low}–${high}`)];
}

/** Return the scale of a model's scores, whatever is filtered. */
function scoreScale(board, model) {
  const scores = board.rows.filter((row) => row.model === model).map((row) => scoreOf(row, shownTask(board)));
  return barScale(scores.filter(Boolean).flatMap(({ mean, ci }) => [mean, ...(ci ?? [])]));
}

function scoreColumn(board, task, scales) {
  const [only] = board.models.length === 1 ? scales.values() : [null];
  const value = (row) => scoreOf(row, task)?.mean ?? null;
  const label = `${taskWords(board, task)}, %`;
  return {
    key: "score",
    label,
    words: true,
    value,
    cell: (row) => scoreCell(board, row, task, scales.get(row.model)),
    head: only && barAxis(only),
    descending: true,
  };
}

function scoreCell(board, row, task, scale) {
  const score = scoreOf(row, task);
  if (!score) return element("span", { class: "muted" }, row.refused ? "not applicable" : "incomplete");
  const line = untunedScore(board, row.model, task);
  const bar = intervalBar(scale, score, { method: row.method, line });
  return element("div", { class: "score-cell" }, element("b", {}, percent(score.mean)), element("small", {}, spreadOf(score)), bar);
}

/** Return the interval, or the standard deviation where there is none. */
function spreadOf(score) {
  if (score.ci) return interval(score.ci);
  return isNumber(score.std) ? `± ${percent(score.std)} sd` : "";
}

function taskColumn(board, task) {
  const main = board.tasks.get(task);
  return {
    key: `task-${idOf(task)}`,
    label: [nameElement(task, 20), element("small", {}, shortened(main, 16))],
    value: (row) => scoreOf(row, task)?.mean ?? null,
    cell: (row) => taskCell(row, task),
    descending: true,
  };
}

function taskCell(row, task) {
  const [score, counted] = [scoreOf(row, task), row.tasks[task]];
  if (!counted) return element("span", { class: "muted" }, ABSENT);
  const lost =
    counted.finished < counted.seeds
      ? element("small", { class: "lost", title: "report runs that finished" }, `${counted.finished}/${counted.seeds}`)
      : null;
  if (!score) return [lost ?? element("span", { class: "muted" }, ABSENT)];
  return [element("span", {}, percent(score.mean)), lost, element("small", { class: "under" }, spreadOf(score))];
}

function seedsCell(row) {
  const scores = Object.values(row.tasks);
  if (scores.length === 0) return ABSENT;
  const [finished, planned] = [scores.reduce((n, s) => n + s.finished, 0), scores.reduce((n, s) => n + s.seeds, 0)];
  return element("span", { class: finished < planned ? "lost" : "muted" }, `${finished}/${planned}`);
}

function belowRow(board, row, span) {
  if (!isOpen(row.id)) return null;
  return element("tr", { class: "opened" }, element("td", { colspan: span }, detailOf(board, row)));
}

/** Number the marks in the order in which they appear; rows with the same mark share its number. */
function footnotesOf(board) {
  const notes = new Map();
  for (const row of board.rows) {
    for (const mark of row.marks) {
      if (!notes.has(mark)) notes.set(mark, { number: notes.size + 1, rows: [] });
      notes.get(mark).rows.push(row);
    }
  }
  return notes;
}

function footnoteList(board, notes) {
  const seen = [...notes].filter(([, { rows }]) => rows.some(passes));
  if (seen.length === 0) return null;
  const shown = seen.map(([mark, { number, rows }]) => {
    const names = rows.slice(0, 4).map((row, n) => [n ? ", " : "", rowName(row, 24)]);
    const more = rows.length > 4 ? ` and ${rows.length - 4} more` : "";
    return element(
      "li",
      { id: `note-${number}`, value: number, tabindex: -1 },
      shortened(mark, 300),
      element("span", { class: "muted" }, " · ", names, more),
    );
  });
  return element("ol", { class: "footnotes", "aria-label": "Notes to the rows" }, shown);
}
