// Which rows can be told apart.

const VERDICT_SIGNS = { better: "▲ better", worse: "▼ worse", "non-inferior": "≈ non-inferior", inconclusive: "? inconclusive" };

function comparisonsSection(board) {
  const families = board
    .part("families")
    .filter((family) => (!view.model || family.model === view.model) && (!view.task || family.task === null || family.task === view.task));
  const parts = [
    families.length
      ? pairsPart(board, families)
      : paragraph("No pair was tested: it takes two complete rows, predictions of every report run and three seeds or more."),
    acrossPart(board),
  ];
  return parts.flat();
}

function pairsPart(board, families) {
  const ids = families.map((family) => idOf(family.name, family.model));
  const family = families[Math.max(0, ids.indexOf(view.test))];
  const names = distinct(family.pairs.flatMap((pair) => [pair.a, pair.b])).sort(
    (a, b) => placeOf(board, family, a) - placeOf(board, family, b),
  );
  const chosen = names.find((name) => idOf(name) === view.against) ?? names[0];
  const pairs = family.pairs.map((pair) => seenFrom(pair, chosen, family.margin)).filter((pair) => pair !== null);
  const told = family.pairs.filter((pair) => ["better", "worse"].includes(pair.verdict)).length;
  const scale = barScale(
    pairs.flatMap((pair) => [pair.difference, ...pair.ci, -family.margin, family.margin]),
    260,
  );
  return [
    controls(
      families.length > 1
        ? bound(
            "test",
            "family",
            families.map((f, n) => [ids[n], shortened(f.name, 60)]),
            idOf(family.name, family.model),
            "comparisons",
          )
        : null,
      names.length > 2
        ? bound(
            "against",
            "compare all with",
            names.map((name) => [idOf(name), shortened(name, 40)]),
            idOf(chosen),
            "comparisons",
          )
        : null,
    ),
    element(
      "p",
      { class: "hint" },
      `${told} of ${plural(family.pairs.length, "pair")} can be told apart. Paired over examples, not over seeds; intervals and p are `,
      `simultaneous over this family (step-down max-t, ${whole(family.resamples)} draws); margin ${percent(family.margin)} points, shaded.`,
    ),
    pairs.length
      ? scrolling(
          "pairs",
          "Comparisons",
          sortable("pairs", { columns: pairColumns(board, family, chosen, scale), groups: [{ heading: null, rows: pairs }] }),
        )
      : null,
    leftOut(family),
  ];
}

function placeOf(board, family, name) {
  return rowOf(board, family.model, name)?.place ?? Infinity;
}

/** Return a pair as `other` against the chosen row, or null if it is not of it. */
function seenFrom(pair, chosen, margin) {
  if (pair.b === chosen) return { ...pair, other: pair.a };
  if (pair.a !== chosen) return null;
  const ci = [-pair.ci[1], -pair.ci[0]];
  const turned = { better: "worse", worse: "better" }[pair.verdict] ?? (ci[0] > -margin ? "non-inferior" : "inconclusive");
  return { ...pair, other: pair.b, difference: -pair.difference, ci, verdict: turned };
}

function pairColumns(board, family, chosen, scale) {
  const named = (name) => {
    const row = rowOf(board, family.model, name);
    return row ? [glyph(row.method), " ", row.untuned ? element("i", {}, "untuned model") : rowName(row)] : nameElement(name);
  };
  const differ = (pair) =>
    element(
      "div",
      { class: "score-cell" },
      element("b", {}, points(pair.difference)),
      element("small", {}, interval(pair.ci, points)),
      intervalBar(scale, { mean: pair.difference, ci: pair.ci }, { line: 0, band: family.margin }),
    );
  return [
    { key: "row", label: "row", words: true, value: (pair) => pair.other, cell: (pair) => named(pair.other) },
    {
      key: "difference",
      label: [`minus `, nameElement(chosen, 30), ", points"],
      words: true,
      value: (pair) => pair.difference,
      cell: differ,
      head: barAxis(scale),
      descending: true,
    },
    { key: "p", label: "p", value: (pair) => pair.p, cell: (pair) => (pair.p < 0.001 ? "< 0.001" : pair.p.toFixed(3)) },
    {
      key: "verdict",
      label: "verdict",
      words: true,
      value: (pair) => pair.verdict,
      cell: (pair) => element("span", { class: `verdict-${pair.verdict}` }, VERDICT_SIGNS[pair.verdict] ?? visible(pair.verdict)),
    },
  ];
}

function leftOut(family) {
  const entries = Object.entries(family.left_out ?? {});
  if (entries.length === 0) return null;
  return expandable(
    "left-out",
    `${plural(entries.length, "row")} could not be tested`,
    element(
      "ul",
      {},
      entries.map(([row, reason]) => element("li", {}, nameElement(row), ": ", visible(reason))),
    ),
  );
}

function acrossPart(board) {
  return board
    .part("across_tasks")
    .filter((entry) => (!view.model || entry.model === view.model) && Object.keys(entry.average_ranks).length > 1 && board.tasks.size > 1)
    .map((entry) => {
      const ranks = Object.entries(entry.average_ranks).sort(([, a], [, b]) => a - b);
      const friedman = isNumber(entry.friedman_p)
        ? `Friedman test by permutation: p = ${significant(entry.friedman_p)}, descriptive.`
        : "A Friedman test is shown from ten tasks on.";
      const items = ranks.map(([name, rank]) =>
        element("li", {}, element("span", { class: "number" }, rank.toFixed(1)), " ", rowNameOf(board, entry.model, name)),
      );
      return expandable(
        `across-${idOf(entry.model)}`,
        ["Average rank over the tasks, ", nameElement(entry.model)],
        element("ol", { class: "ranks" }, items),
        element("p", { class: "hint" }, friedman),
      );
    });
}

function rowNameOf(board, model, name) {
  const row = rowOf(board, model, name);
  return row ? rowName(row) : nameElement(name);
}
