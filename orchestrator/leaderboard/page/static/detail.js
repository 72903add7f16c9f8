// Everything about one row: opened below it in the ranking, or as a card over a chart.

function detailOf(board, row) {
  return element(
    "div",
    { class: "detail" },
    row.marks.length
      ? part(
          "Marks",
          element(
            "ul",
            {},
            row.marks.map((mark) => element("li", {}, visible(mark))),
          ),
          "broad",
        )
      : null,
    row.refused ? null : part("Scores, %", scrolling(`scores-${row.id}`, "Scores of the row", scoreTable(row))),
    row.failed_runs.length ? part("Failed report runs", failedList(board, row), "broad") : null,
    part("Size and cost", costList(row)),
    row.published.length ? part("Published for this row, not run here", publishedList(row), "broad") : null,
    row.runs.length ? part(plural(row.runs.length, "report run"), runList(board, row.runs), "broad") : null,
  );
}

function part(title, content, kind = null) {
  return element("section", { class: kind }, element("h4", {}, title), content);
}

function scoreTable(row) {
  const lines = Object.entries(row.tasks).flatMap(([task, score]) => {
    const metrics = Object.entries(score.metrics ?? {});
    const seeds = `${score.finished}/${score.seeds}`;
    const point = settings(score.selected ?? {}) || ABSENT;
    if (metrics.length === 0) return [[nameElement(task), nameElement(score.main), ABSENT, ABSENT, ABSENT, seeds, point]];
    return metrics.map(([metric, { mean, std, ci }], n) => [
      n ? "" : nameElement(task),
      element(metric === score.main ? "b" : "span", {}, nameElement(metric)),
      percent(mean),
      isNumber(std) ? percent(std) : ABSENT,
      interval(ci) || ABSENT,
      n ? "" : seeds,
      n ? "" : element("span", { class: "words" }, point),
    ]);
  });
  return simpleTable(["task", "metric", "mean", "sd", "95 % interval", "seeds", "selected point"], lines, 2);
}

function failedList(board, row) {
  return element(
    "ul",
    {},
    row.failed_runs.map((run) =>
      element(
        "li",
        {},
        nameElement(run.task),
        ` seed ${run.seed}: `,
        element("b", {}, statusWords(run.status)),
        run.status === "diverged" ? ", counted as the untuned model" : "",
        run.error ? [element("br"), element("span", { class: "error" }, shortened(run.error, 300))] : null,
        " ",
        runLink(board, run.run_id),
      ),
    ),
  );
}

function statusWords(status) {
  return visible(status).replaceAll("_", " ");
}

function costList(row) {
  const counts = row.counts ?? {};
  const facts = [
    ["implementation", nameElement(row.implementation)],
    ["trainable parameters", whole(row.trainable)],
    ["of the adapter, while training", whole(counts.peak)],
    ["of the adapter, stored", whole(counts.stored)],
    ["of the head", counts.head ? whole(counts.head) : null],
    ["adapter file", isNumber(row.adapter_bytes) ? bytes(row.adapter_bytes) : null],
    ["seconds per step", isNumber(row.seconds_per_step) ? significant(row.seconds_per_step) : null],
    ["peak memory", isNumber(row.peak_bytes) ? bytes(row.peak_bytes) : null],
    ["operations per step", isNumber(row.flops) ? `${compact(row.flops)} FLOPs` : null],
  ].filter(([, value]) => value !== null);
  return element(
    "dl",
    { class: "facts" },
    facts.map(([term, value]) => element("div", {}, element("dt", {}, term), element("dd", {}, value))),
  );
}

function publishedList(row) {
  const lines = row.published.map((entry) => {
    const scores = Object.entries(entry.scores).flatMap(([task, metrics]) =>
      Object.entries(metrics).map(([metric, value]) => `${shortened(task)} ${shortened(metric)} ${percent(value)} %`),
    );
    return element(
      "li",
      {},
      `${scores.join(", ")}: `,
      nameElement(entry.citation, 160),
      ", ",
      nameElement(entry.table),
      `; point selected on ${visible(entry.selected_on)} data`,
    );
  });
  return element("ul", {}, lines);
}

/** Return the runs: links into MLflow where a server shows the page, their ids in a file. */
function runList(board, runs) {
  const compare = runsPage(board, runs);
  return [
    compare && runs.length > 1 ? paragraph(element("a", { href: compare }, "Compare them in MLflow")) : null,
    element(
      "ul",
      { class: "runs" },
      runs.map((run) => element("li", {}, runLink(board, run))),
    ),
  ];
}

function runLink(board, run) {
  const code = element("code", {}, shortened(run, 40));
  return isLive() && board.experiment !== null ? element("a", { href: runPage(board, run) }, code) : code;
}

function runPage(board, run) {
  return `${serverRoot()}#/experiments/${encodeURIComponent(board.experiment)}/runs/${encodeURIComponent(run)}`;
}

function runsPage(board, runs) {
  if (!isLive() || board.experiment === null) return null;
  const query = new URLSearchParams({ runs: JSON.stringify(runs), experiments: JSON.stringify([String(board.experiment)]) });
  return `${serverRoot()}#/compare-runs?${query}`;
}

function isLive() {
  return document.documentElement.dataset.mode === "live";
}

/** Return where MLflow's own pages are, which may be below a prefix. */
function serverRoot() {
  return location.pathname.replace(/leaderboard\/?$/, "");
}

/** Show a card over the page. */
function showCard(title, ...content) {
  const card = document.getElementById("card");
  const close = element("button", { type: "button", class: "close", "aria-label": "Close", on: { click: () => card.close() } }, "×");
  card.replaceChildren(element("header", {}, element("h3", { id: "card-title" }, title), close), ...content.flat().filter(Boolean));
  // No value is returned: `false` would keep the card's links from being followed.
  card.onclick = (event) => {
    if (event.target === card) card.close();
  };
  card.showModal();
}

function showRow(board, id) {
  const row = board.rows.find((candidate) => candidate.id === id);
  if (row) showCard([glyph(row.method), rowName(row), element("small", {}, " on ", nameElement(row.model))], detailOf(board, row));
}
