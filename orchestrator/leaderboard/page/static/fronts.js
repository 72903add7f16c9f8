// Score against cost, with the rows that none beats in both.

const COSTS = {
  trainable: { words: "trainable parameters", format: "~s", show: whole },
  adapter_bytes: { words: "adapter file, bytes", format: "~s", show: bytes },
  seconds_per_step: { words: "seconds per step", format: "~g", show: significant },
  peak_bytes: { words: "peak memory, bytes", format: "~s", show: bytes },
};

function frontsSection(board) {
  const known = Object.keys(COSTS).filter((cost) => board.rows.some((row) => row[cost] > 0));
  const cost = known.includes(view.cost) ? view.cost : known[0];
  const task = shownTask(board);
  const plotted = cost ? shownRows(board).filter((row) => row[cost] > 0 && scoreOf(row, task)) : [];
  if (plotted.length === 0) return [paragraph("No row has both a score and a cost yet.")];
  const panels = shownModels(board)
    .map((model) => [model, plotted.filter((row) => row.model === model)])
    .filter(([, rows]) => rows.length)
    .map(([model, rows]) => {
      const label = `Score of ${rows.length} rows on ${model} against ${COSTS[cost].words}`;
      return panel(
        nameElement(model),
        chart(`front-${idOf(model)}`, label, (width) => frontSpec(board, rows, { model, cost, task, width }), 340),
        "wide",
      );
    });
  const caption = [
    `Score (${taskWords(board, task)}) against ${COSTS[cost].words}. Bars: 95 % intervals. `,
    "Line: the Pareto front, rows that no other row beats in both.",
    baseWords(
      shownModels(board)
        .map((model) => plotted.filter((row) => row.model === model))
        .filter((rows) => rows.length)
        .map((rows) => plotOf(board, rows, cost, task)),
    ),
    " A click on a point shows its runs.",
  ];
  const methods = board.methods.filter((method) => plotted.some((row) => row.method === method));
  return [
    controls(
      bound(
        "cost",
        "cost",
        known.map((name) => [name, COSTS[name].words]),
        cost,
        "fronts",
      ),
    ),
    legend("fronts", methods),
    figure(caption, panels),
  ];
}

function plotOf(board, rows, cost, task) {
  return { base: untunedScore(board, rows[0].model, task), values: rows.map((row) => frontPoint(row, cost, task, false)) };
}

function frontSpec(board, rows, { model, cost, task, width }) {
  const front = frontOf(board, rows, { model, cost, task });
  const values = rows.map((row) => frontPoint(row, cost, task, front.includes(row)));
  const x = {
    field: "x",
    type: "quantitative",
    title: COSTS[cost].words,
    axis: { format: COSTS[cost].format, tickCount: 5, grid: false },
    scale: costScale(values),
  };
  const y = {
    field: "y",
    type: "quantitative",
    title: "score, %",
    scale: { zero: false, nice: false, padding: 10 },
    axis: { tickCount: 6 },
  };
  const line = front.map((row) => frontPoint(row, cost, task, true)).map(({ x, y }) => ({ x, y }));
  return {
    width: Math.max(160, width - 8),
    height: 320,
    layer: [
      ...baseLine(untunedScore(board, model, task), values, y),
      {
        data: { values: line },
        mark: { type: "line", interpolate: "step-after", stroke: "var(--ink)", strokeWidth: 1, opacity: 0.55 },
        encoding: { x, y },
      },
      {
        data: { values: values.filter((value) => isNumber(value.low)) },
        mark: { type: "rule", strokeWidth: 1.2 },
        encoding: { x, y: { ...y, field: "low" }, y2: { field: "high" }, color: RAW.colour, opacity: RAW.opacity },
      },
      {
        data: { values },
        mark: {
          type: "point",
          filled: true,
          size: 95,
          tooltip: { content: "data" },
          cursor: "pointer",
          stroke: "var(--paper)",
          strokeWidth: 0.8,
        },
        encoding: { x, y, fill: RAW.colour, shape: { field: "shape", type: "nominal", scale: null, legend: null }, opacity: RAW.opacity },
      },
      ...frontLabels(
        spacedOut(
          values.filter((value) => value.front),
          values,
          width,
        ),
        x,
        y,
      ),
    ],
  };
}

/** Return the dashed line of the untuned model, unless that would press the scores together. */
function baseLine(base, values, y) {
  if (!baseIsNear(base, values)) return [];
  return [{ data: { values: [{ y: 100 * base }] }, mark: { type: "rule", strokeDash: [4, 4], stroke: "var(--muted)" }, encoding: { y } }];
}

function baseIsNear(base, values) {
  const scores = values.flatMap((value) => [value.y, value.low, value.high]).filter(isNumber);
  const [low, high] = [Math.min(...scores), Math.max(...scores)];
  return isNumber(base) && 100 * base > low - 0.8 * (high - low) && 100 * base < high + 0.8 * (high - low);
}

/** Say where the untuned model is: `plots` holds its score and the values of each chart. */
function baseWords(plots) {
  const known = plots.filter(({ base }) => isNumber(base));
  const said = (some) => some.map(({ base }) => `${percent(base)} %`).join(", ");
  const [near, far] = [
    known.filter(({ base, values }) => baseIsNear(base, values)),
    known.filter(({ base, values }) => !baseIsNear(base, values)),
  ];
  return [
    near.length && ` Dashed: the untuned model (${said(near)}).`,
    far.length && ` The untuned model (${said(far)}) lies outside the plot.`,
  ]
    .filter(Boolean)
    .join("");
}

function frontPoint(row, cost, task, front) {
  const { mean, ci } = scoreOf(row, task);
  return {
    ...inkOf(row),
    id: row.id,
    title: shortened(row.name, 32),
    x: row[cost],
    y: 100 * mean,
    low: ci ? 100 * ci[0] : null,
    high: ci ? 100 * ci[1] : null,
    front,
    tip: [
      ["score", `${percent(mean)} % ${interval(ci)}`],
      [COSTS[cost].words, COSTS[cost].show(row[cost])],
      ["model", shortened(row.model)],
      ["rank", isNumber(row.rank) ? String(row.rank) : ABSENT],
    ],
  };
}

/** Return a scale of costs: logarithmic unless they are within a factor of three. */
function costScale(values) {
  const costs = values.map((value) => value.x);
  return Math.max(...costs) > 3 * Math.min(...costs)
    ? { type: "log", nice: false, padding: 14 }
    : { type: "linear", zero: false, padding: 14 };
}

/** Return the rows of the front: those of the analysis for the average, else those that no row of the model beats on the shown task. */
function frontOf(board, rows, { model, cost, task }) {
  const known = board.part("fronts").find((front) => front.model === model && front.cost === cost);
  if (known && (task === "" || board.tasks.size === 1))
    return known.rows.map((name) => rowOf(board, model, name)).filter((row) => rows.includes(row));
  const all = board.rows.filter((row) => row.model === model && row[cost] > 0 && scoreOf(row, task));
  const mean = (row) => scoreOf(row, task).mean;
  const beats = (a, b) => a[cost] <= b[cost] && mean(a) >= mean(b) && (a[cost] < b[cost] || mean(a) > mean(b));
  return rows.filter((row) => !all.some((other) => beats(other, row))).sort((a, b) => a[cost] - b[cost]);
}
