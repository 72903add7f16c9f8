// What a budget of points buys: the expected best of n, or the best of the first n of a search.

const DRAWN = "Selection score to be expected of the best of n points drawn without replacement";
const ASKED = "Best selection score of the first n points, in the order in which the search asked for them";

function tuningSection(board) {
  const entries = board.part("expected_best").filter((entry) => entry.scores.length > 1);
  const place = placeChoice(entries, "tuning");
  const found = entriesAt(board, entries, place);
  if (found.length === 0) return [paragraph("No curve: it takes the selection scores of two grid points or more.")];
  const last = (entry) => entry.scores[entry.scores.length - 1];
  const shown = view.rows === "all" ? found : bestPerMethod(found, last);
  const base = found.find((entry) => isNumber(entry.untuned))?.untuned;
  const specify = (width) => tuningSpec(shown, base, width);
  const caption = [
    `${entries.some((entry) => entry.in_order) ? ASKED : DRAWN}, for ${place.words}; a failed point scores `,
    `as the untuned model. Methods are to be compared at equal n.${baseWords([{ base, values: tuningValues(shown) }])}`,
  ];
  return [
    controls(place.controls, rowsChoice("tuning")),
    legend("tuning", distinct(shown.map((entry) => entry.of.method))),
    figure(caption, panel(null, chart("tuning", `Best of n points, ${place.words}`, specify, 320), "full")),
  ];
}

function rowsChoice(place) {
  return choice(
    "rows",
    "show",
    [
      ["best", "the best size of each method"],
      ["all", "all sizes"],
    ],
    place,
  );
}

function tuningValues(entries) {
  return entries.flatMap((entry) =>
    entry.scores.map((score, n) => ({
      ...inkOf(entry.of),
      id: entry.of.id,
      title: shortened(entry.row, 32),
      x: n + 1,
      y: 100 * score,
      tip: [
        ["points tried", String(n + 1)],
        [entry.in_order ? "best so far" : "expected best", `${percent(score)} %`],
      ],
    })),
  );
}

function tuningSpec(entries, base, width) {
  const values = tuningValues(entries);
  const most = Math.max(...entries.map((entry) => entry.scores.length));
  const every = Math.ceil(most / 12);
  const ticks = Array.from({ length: most }, (_, n) => n + 1).filter((n) => n === 1 || n % every === 0);
  const axis = { values: ticks, format: "d", grid: false };
  const x = { title: "points tried, n", axis, scale: { domain: [1, most], nice: false, padding: 6 } };
  const y = `${entries.some((entry) => entry.in_order) ? "best" : "expected best"} selection score, %`;
  return curves(values, { width, x, y, base });
}

/** Return curves with marks of the rows' own colour and shape. `values`: {id, x, y, title, tip, colour, shape, opacity}. */
function curves(values, { width, x, y, base = null, points = true, height = 320 }) {
  const encoding = {
    x: { field: "x", type: "quantitative", ...x },
    y: { field: "y", type: "quantitative", title: y, scale: { zero: false, nice: false, padding: 8 }, axis: { tickCount: 6 } },
  };
  const ink = { detail: { field: "id", type: "nominal" }, opacity: RAW.opacity };
  const shape = { field: "shape", type: "nominal", scale: null, legend: null };
  return {
    width: Math.max(160, width - 8),
    height,
    layer: [
      ...baseLine(base, values, encoding.y),
      { data: { values }, mark: { type: "line", strokeWidth: 1.4 }, encoding: { ...encoding, ...ink, color: RAW.colour } },
      {
        data: { values },
        mark: { type: "point", filled: true, size: points ? 38 : 60, opacity: 1, tooltip: { content: "data" }, cursor: "pointer" },
        encoding: { ...encoding, ...ink, fill: RAW.colour, shape, ...(points ? {} : { opacity: { value: 0.001 } }) },
      },
    ],
  };
}
