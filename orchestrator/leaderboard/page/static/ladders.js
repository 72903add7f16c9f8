// Score against size, a panel per method: its own sizes before those of all others in grey.

function laddersSection(board) {
  const task = shownTask(board);
  const sized = shownRows(board).filter((row) => row.trainable > 0 && scoreOf(row, task));
  const figures = shownModels(board)
    .map((model) =>
      laddersOf(
        board,
        sized.filter((row) => row.model === model),
        model,
        task,
      ),
    )
    .filter(Boolean);
  return figures.length ? figures : [paragraph("No method has run in two sizes: there is no curve of score against size to show.")];
}

function laddersOf(board, rows, model, task) {
  const methods = board.methods.filter(
    (method) => distinct(rows.filter((row) => row.method === method).map((row) => row.trainable)).length > 1,
  );
  if (methods.length === 0) return null;
  const values = rows.map((row) => frontPoint(row, "trainable", task, false));
  const base = untunedScore(board, model, task);
  const domain = scoreDomain([...values.flatMap((v) => [v.y, v.low, v.high]), baseIsNear(base, values) ? 100 * base : NaN]);
  const panels = methods.map((method) => {
    const own = rows.filter((row) => row.method === method).map((row) => frontPoint(row, "trainable", task, false));
    const specify = (width) => ladderSpec({ own, values, domain, width, base, best: bestUnder(board, model, method, task) });
    const id = `ladder-${idOf(model, method)}`;
    return panel(
      [glyph(method), nameElement(method, 28)],
      chart(id, `Score of ${method} on ${model} against its size`, specify, 150),
      "small",
    );
  });
  const caption = [
    `Score (${taskWords(board, task)}) on ${shortened(model)} against trainable parameters, one panel per method with several sizes, `,
    `all on the same axes. Bars: 95 % intervals. Grey: all other rows.${baseWords([{ base, values }])}`,
    task === "" ? " Thin steps: the best of the sizes up to there." : "",
  ];
  return [board.models.length > 1 ? element("h3", {}, nameElement(model, 60)) : null, figure(caption, panels)];
}

function ladderSpec({ own, values, domain, width, base, best }) {
  const x = {
    field: "x",
    type: "quantitative",
    title: null,
    axis: { format: "~s", tickCount: 3, grid: false },
    scale: { ...costScale(values), domain: extent(values) },
  };
  const y = { field: "y", type: "quantitative", title: null, scale: { domain, nice: false }, axis: { tickCount: 4 } };
  const shape = { field: "shape", type: "nominal", scale: null, legend: null };
  return {
    width: Math.max(110, width - 4),
    height: 150,
    layer: [
      ...baseLine(base, values, y),
      {
        data: { values: values.map(({ x, y }) => ({ x, y })) },
        mark: { type: "point", filled: true, size: 14, fill: "var(--faint)", opacity: 1 },
        encoding: { x, y },
      },
      {
        data: { values: best },
        mark: { type: "line", interpolate: "step-after", stroke: "var(--muted)", strokeWidth: 0.8 },
        encoding: { x, y },
      },
      { data: { values: own }, mark: { type: "line", strokeWidth: 1.6 }, encoding: { x, y, color: RAW.colour, opacity: RAW.opacity } },
      {
        data: { values: own.filter((value) => isNumber(value.low)) },
        mark: { type: "rule", strokeWidth: 1.2 },
        encoding: { x, y: { ...y, field: "low" }, y2: { field: "high" }, color: RAW.colour, opacity: RAW.opacity },
      },
      {
        data: { values: own },
        mark: { type: "point", filled: true, size: 55, tooltip: { content: "data" }, cursor: "pointer" },
        encoding: { x, y, fill: RAW.colour, shape, opacity: RAW.opacity },
      },
    ],
  };
}

/** Return the best average of a method's sizes of at most so many parameters. */
function bestUnder(board, model, method, task) {
  if (task !== "" && board.tasks.size > 1) return [];
  const steps = Object.entries(board.best_under_budget?.[model] ?? {}).find(([label]) => label === method)?.[1] ?? [];
  return steps.filter((step) => isNumber(step.best) && step.trainable > 0).map((step) => ({ x: step.trainable, y: 100 * step.best }));
}

function scoreDomain(values) {
  const known = values.filter(isNumber);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const pad = 0.06 * (high - low || 2);
  return [low - pad, high + pad];
}

function extent(values) {
  const sizes = values.map((value) => value.x);
  return [Math.min(...sizes), Math.max(...sizes)];
}
