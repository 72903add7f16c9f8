// The grid as a heat map: where each method's best point lay, and whether it lay on the edge.

const ROOM = 12; // panels, without a choice of the method

function gridsSection(board) {
  const entries = board.part("grids").filter((grid) => grid.points.length);
  const place = placeChoice(entries, "grids");
  const all = entriesAt(board, entries, place);
  if (all.length === 0) return [paragraph("No grid: no select trial has been recorded.")];
  const flat = all.every((grid) => axesOf(grid).length < 2);
  const methods = distinct(all.map((grid) => grid.of.method));
  const method = methods.includes(view.method) ? view.method : flat || all.length <= ROOM ? "" : methods[0];
  const shown = method === "" ? all : all.filter((grid) => grid.of.method === method);
  const options = [...(flat || all.length <= ROOM ? [["", "all methods"]] : []), ...methods.map(named)];
  const domain = gridDomain(all);
  return [
    controls(place.controls, methods.length > 1 ? bound("method", "method", options, method, "grids") : null),
    figure(gridCaption(place, domain, searchedIn(all)), gridPanels(shown, domain)),
  ];
}

function gridCaption(place, [low, high], searched) {
  const key = drawn("svg", { class: "heat-key", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" });
  for (let n = 0; n < 50; n += 1) key.append(drawn("rect", { x: 2 * n, y: 0, width: 2.2, height: 10, fill: heat(n / 49) }));
  const marks = [
    element("b", { class: "picked" }, "framed"),
    ": the selected point; ",
    element("b", { class: "on-edge" }, "dashed, ◂"),
    ": it lies on the edge of an ordered axis. ✕: failed; ?: missing. ",
  ];
  return [
    `Selection score, %, of every grid point for ${place.words}. `,
    element("span", { class: "nobreak" }, low.toFixed(1), " ", key, " ", high.toFixed(1)),
    ". ",
    marks,
    searched ? "A continuous axis is shown in equal parts, each with its best point. " : "",
    "All panels share the scale.",
  ];
}

function searchedIn(grids) {
  return grids.some((grid) => grid.points.some((point) => point.cell));
}

function axesOf(grid) {
  return Object.keys(grid.axes).filter((axis) => grid.axes[axis].length > 1);
}

function gridDomain(grids) {
  const scores = grids.flatMap((grid) => grid.points.map((point) => point.score)).filter(isNumber);
  return scores.length ? [100 * Math.min(...scores), 100 * Math.max(...scores)] : [0, 100];
}

/** Grids over one axis share a panel, a line each; others have a panel each, and one per value of every further axis. */
function gridPanels(grids, domain) {
  const lines = grids.filter((grid) => axesOf(grid).length < 2);
  const shared = Object.values(groupedBy(lines, axisKey)).map((some, n) => linesPanel(some, n, domain));
  return [...shared, ...grids.filter((grid) => axesOf(grid).length > 1).flatMap((grid) => planePanels(grid, domain))];
}

function groupedBy(values, key) {
  const found = {};
  for (const value of values) (found[key(value)] ??= []).push(value);
  return found;
}

function axisKey(grid) {
  return JSON.stringify(axesOf(grid).map((axis) => [axis, grid.axes[axis]]));
}

function linesPanel(grids, place, domain) {
  const axis = axesOf(grids[0])[0] ?? null;
  const names = shortenedApart(
    grids.map((grid) => grid.row),
    30,
  );
  const values = grids.flatMap((grid, line) =>
    bestOf(grid, grid.points).map((point) => heatCell(grid, point, domain, { x: axis ? setting(spotOf(point)[axis]) : "the only point", y: names[line] })),
  );
  const sizes = { x: axis ? grids[0].axes[axis].map(setting) : ["the only point"], y: names };
  const height = 26 * grids.length + 60;
  const specify = (width) => heatSpec(values, { ...sizes, xTitle: axis ?? "", yTitle: null, width, height });
  return panel(null, chart(`grid-lines-${place}`, `Selection scores over ${axis ?? "one point"}`, specify, height), "wide");
}

function planePanels(grid, domain) {
  const [across, down, ...further] = axesOf(grid).sort((a, b) => grid.axes[b].length - grid.axes[a].length);
  const height = 30 * grid.axes[down].length + 56;
  return slices(grid, further).map((slice) => {
    const points = bestOf(grid, grid.points).filter((point) => further.every((axis) => same(spotOf(point)[axis], slice[axis])));
    const values = points.map((point) => heatCell(grid, point, domain, { x: setting(spotOf(point)[across]), y: setting(spotOf(point)[down]) }));
    const axes = { x: grid.axes[across].map(setting), y: grid.axes[down].map(setting), xTitle: shortened(across), yTitle: shortened(down) };
    const specify = (width) => heatSpec(values, { ...axes, width, height });
    const title = [glyph(grid.of.method), rowName(grid.of, 24), further.length ? element("small", {}, ` ${settings(slice)}`) : null];
    return panel(
      title,
      chart(
        `grid-${idOf(grid.model, grid.task, grid.row, settings(slice))}`,
        `Selection scores of ${grid.row} over ${across} and ${down}`,
        specify,
        height,
      ),
      "grid",
    );
  });
}

/** Where a point stands among the values of the axes: a search draws points between them. */
function spotOf(point) {
  return point.cell ?? point.point;
}

/** Return one point for each place: the selected one, else the best. */
function bestOf(grid, points) {
  const worth = (point) => (same(point.point, grid.selected) ? Infinity : isNumber(point.score) ? point.score : -Infinity);
  const places = groupedBy(points, (point) => JSON.stringify(spotOf(point)));
  return Object.values(places).map((some) => some.reduce((best, point) => (worth(point) > worth(best) ? point : best)));
}

/** Return every combination of values of the further axes. */
function slices(grid, axes) {
  return axes.reduce((found, axis) => found.flatMap((slice) => grid.axes[axis].map((value) => ({ ...slice, [axis]: value }))), [{}]);
}

function same(a, b) {
  return JSON.stringify(a) === JSON.stringify(b);
}

function heatCell(grid, point, [low, high], place) {
  const picked = grid.selected !== null && Object.entries(point.point).every(([axis, value]) => same(value, grid.selected[axis]));
  const edges = picked ? (grid.edges ?? []) : [];
  const share = isNumber(point.score) ? (100 * point.score - low) / (high - low || 1) : null;
  const failed = point.statuses.filter((status) => status !== "finished");
  const sign = failed.every((status) => status === "missing") ? "?" : "✕";
  return {
    ...place,
    title: shortened(grid.row, 40),
    words: share === null ? sign : `${percent(point.score)}${failed.length ? "*" : ""}${edges.length ? " ◂" : ""}`,
    fill: share === null ? "var(--raised)" : heat(share),
    ink: share === null ? "var(--muted)" : share > 0.48 ? "#14140f" : "#ffffff",
    picked,
    edge: edges.length > 0,
    runs: point.runs ?? [],
    tip: [
      ...Object.entries(point.point).map(([axis, value]) => [shortened(axis), setting(value)]),
      ["selection score", isNumber(point.score) ? `${percent(point.score, 2)} %` : ABSENT],
      ["selection loss", isNumber(point.loss) ? significant(point.loss) : ABSENT],
      [
        "trials",
        distinct(point.statuses)
          .map((status) => `${point.statuses.filter((s) => s === status).length} ${statusWords(status)}`)
          .join(", "),
      ],
      ...(picked ? [["selected", edges.length ? `yes, on the edge of ${edges.map((axis) => shortened(axis)).join(", ")}` : "yes"]] : []),
    ],
  };
}

function heatSpec(values, { x, y, xTitle, yTitle, width, height }) {
  const encoding = {
    x: {
      field: "x",
      type: "ordinal",
      sort: x,
      scale: { domain: x, padding: 0.04 },
      title: xTitle && shortened(xTitle),
      axis: { orient: "bottom", labelAngle: 0, ticks: false, domain: false },
    },
    y: { field: "y", type: "ordinal", sort: y, scale: { domain: y, padding: 0.06 }, title: yTitle, axis: { ticks: false, domain: false } },
  };
  const raw = (field) => ({ field, type: "nominal", scale: null, legend: null });
  const frame = { type: "rect", fillOpacity: 0, strokeWidth: 2.4, stroke: "var(--ink)" };
  return {
    width: Math.max(140, width - 8),
    height,
    layer: [
      {
        data: { values },
        mark: { type: "rect", tooltip: { content: "data" }, cursor: "pointer" },
        encoding: { ...encoding, fill: raw("fill") },
      },
      { data: { values: values.filter((v) => v.picked && !v.edge) }, mark: { ...frame, tooltip: { content: "data" } }, encoding },
      {
        data: { values: values.filter((v) => v.edge) },
        mark: { ...frame, stroke: "var(--warn)", strokeDash: [4, 2.5], tooltip: { content: "data" } },
        encoding,
      },
      {
        data: { values },
        mark: { type: "text", tooltip: { content: "data" }, cursor: "pointer" },
        encoding: { ...encoding, text: { field: "words", type: "nominal" }, fill: raw("ink") },
      },
    ],
  };
}

// Cividis, even in lightness and the same to the colour-blind: Nuñez, Anderton and Renslow (2018), sampled at ten points.
const CIVIDIS = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838"];

function heat(share) {
  const place = Math.min(Math.max(share, 0), 1) * (CIVIDIS.length - 1);
  const [low, part] = [Math.min(Math.floor(place), CIVIDIS.length - 2), place - Math.min(Math.floor(place), CIVIDIS.length - 2)];
  const channel = (hex, n) => parseInt(hex.slice(1 + 2 * n, 3 + 2 * n), 16);
  const mixed = [0, 1, 2].map((n) => Math.round(channel(CIVIDIS[low], n) * (1 - part) + channel(CIVIDIS[low + 1], n) * part));
  return `rgb(${mixed.join(",")})`;
}
