// How much each hyper-parameter matters, and how finely the size of a method can be chosen.

const REST = "interactions and noise";

function axesSection(board) {
  const entries = board.part("sensitivities");
  const place = placeChoice(entries, "axes");
  const found = entriesAt(board, entries, place);
  if (found.length === 0) return null;
  const axes = distinct(found.flatMap((entry) => Object.keys(entry.shares)));
  const height = 18 * found.length + 70;
  const specify = (width) => axesSpec(found, axes, width, height);
  const caption = [
    `Share of the variance of the selection score over the grid that goes with each axis alone (main effects), for ${place.words}. `,
    "Right: the standard deviation over the grid, in points; where it is small, the shares say little.",
  ];
  return [
    controls(place.controls),
    figure(caption, panel(null, chart("axes", `Sensitivity to each hyper-parameter, ${place.words}`, specify, height), "full")),
  ];
}

function axesSpec(entries, axes, width, height) {
  const names = shortenedApart(
    entries.map((entry) => entry.row),
    30,
  );
  const values = entries.flatMap((entry, line) => {
    const rest = Math.max(0, 1 - Object.values(entry.shares).reduce((sum, share) => sum + share, 0));
    return [...Object.entries(entry.shares), [REST, rest]].map(([axis, share]) => ({
      id: entry.of.id,
      title: names[line],
      line: names[line],
      axis: axis === REST ? REST : shortened(axis),
      order: axis === REST ? axes.length : axes.indexOf(axis),
      share: 100 * share,
      tip: [
        [shortened(axis), `${percent(share, 0)} %`],
        ["sd over the grid", `${percent(entry.spread)} points`],
      ],
    }));
  });
  const spreads = entries.map((entry, line) => ({ line: names[line], words: percent(entry.spread) }));
  const y = {
    field: "line",
    type: "ordinal",
    sort: names,
    title: null,
    axis: { ticks: false, domain: false, labelLimit: 190, labelPadding: 6 },
  };
  const domain = [...axes.map((axis) => shortened(axis)), REST];
  const range = [...axes.map((_, n) => `var(--c${n % COLOURS})`), "var(--faint)"];
  return {
    width: Math.max(160, width - 8),
    height,
    layer: [
      {
        data: { values },
        mark: { type: "bar", tooltip: { content: "data" }, height: { band: 0.68 } },
        encoding: {
          y,
          x: {
            field: "share",
            type: "quantitative",
            stack: "zero",
            title: "share of the variance, %",
            scale: { domain: [0, 108], nice: false },
            axis: { values: [0, 25, 50, 75, 100] },
          },
          color: { field: "axis", type: "nominal", scale: { domain, range }, legend: { orient: "top", title: null, symbolType: "square" } },
          order: { field: "order", type: "quantitative" },
        },
      },
      {
        data: { values: spreads },
        mark: { type: "text", align: "left", fill: "var(--muted)" },
        encoding: { y, x: { datum: 101.5 }, text: { field: "words", type: "nominal" } },
      },
    ],
  };
}

function sizesSection(board) {
  const found = board.part("granularities").filter((entry) => !view.model || entry.model === view.model);
  if (found.length === 0) return null;
  const panels = distinct(found.map((entry) => entry.model)).map((model) => {
    const entries = found.filter((entry) => entry.model === model).sort((a, b) => a.smallest - b.smallest);
    const height = 20 * entries.length + 50;
    const specify = (width) => sizesSpec(entries, width, height);
    return panel(nameElement(model), chart(`sizes-${idOf(model)}`, `Sizes of the methods on ${model}`, specify, height), "wide");
  });
  return [
    figure(
      "Sizes that were run: trainable parameters of each method, the smallest first. Right: the median ratio of neighbouring sizes.",
      panels,
    ),
  ];
}

function sizesSpec(entries, width, height) {
  const names = shortenedApart(
    entries.map((entry) => entry.method),
    24,
  );
  const values = entries.flatMap((entry, line) =>
    entry.sizes
      .filter((size) => size > 0)
      .map((size) => ({ ...inkOf(entry), title: names[line], line: names[line], x: size, tip: [["trainable parameters", whole(size)]] })),
  );
  const steps = entries.map((entry, line) => ({ line: names[line], words: isNumber(entry.step) ? `× ${significant(entry.step)}` : "" }));
  const y = {
    field: "line",
    type: "ordinal",
    sort: names,
    title: null,
    axis: { ticks: false, domain: false, grid: true, labelLimit: 140, labelPadding: 8 },
  };
  const x = {
    field: "x",
    type: "quantitative",
    title: "trainable parameters",
    axis: { format: "~s", tickCount: 4, grid: false },
    scale: { type: "log", nice: false, padding: 12 },
  };
  const shape = { field: "shape", type: "nominal", scale: null, legend: null };
  const end = Math.max(1, ...values.map((value) => value.x));
  return {
    width: Math.max(160, width - 8),
    height,
    layer: [
      {
        data: { values },
        mark: { type: "point", filled: true, size: 60, tooltip: { content: "data" } },
        encoding: { x, y, fill: RAW.colour, shape, opacity: RAW.opacity },
      },
      {
        data: { values: steps },
        mark: { type: "text", align: "left", dx: 12, fill: "var(--muted)" },
        encoding: { y, x: { datum: end }, text: { field: "words", type: "nominal" } },
      },
    ],
  };
}
