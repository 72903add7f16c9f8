// Intervals drawn as bars, all of a column on one scale.

const BAR = { height: 18, pad: 8 };

/** Return a scale over scores: where they lie in a bar, with round ticks. */
function barScale(values, width = 170) {
  const known = values.filter(isNumber);
  if (known.length === 0) return null;
  const [least, most] = [Math.min(...known), Math.max(...known)];
  const pad = 0.05 * (most - least || 0.02);
  const [low, high] = [least - pad, most + pad];
  const step = roundStep((high - low) / 5);
  const first = Math.ceil(low / step);
  const ticks = Array.from({ length: Math.floor(high / step) - first + 1 }, (_, n) => (first + n) * step);
  const x = (value) => BAR.pad + ((value - low) / (high - low)) * (width - 2 * BAR.pad);
  return { x, ticks, width };
}

function roundStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * ([1, 2, 5].find((factor) => factor * power >= rough) ?? 10);
}

/** Return the scale itself, for the head of the column. */
function barAxis(scale) {
  const every = Math.ceil(scale.ticks.length / 4);
  const labels = scale.ticks
    .filter((_, n) => n % every === 0)
    .map((tick) =>
      drawn("text", { x: scale.x(tick), y: 9, "text-anchor": "middle" }, String(Number((100 * tick).toFixed(2))).replace("-", "−")),
    );
  return bar(
    "axis",
    scale.width,
    scale.ticks.map((tick) => drawn("line", { class: "tick", x1: scale.x(tick), x2: scale.x(tick), y1: 12, y2: BAR.height })),
    labels,
  );
}

/** Return a score with its interval as a bar; `line` is a score to compare with, `band` a half-width around it. */
function intervalBar(scale, { mean, ci }, { method = null, line = null, band = null }) {
  const [middle, parts] = [BAR.height / 2, []];
  for (const tick of scale.ticks) parts.push(drawn("line", { class: "tick", x1: scale.x(tick), x2: scale.x(tick), y1: 0, y2: BAR.height }));
  if (isNumber(line) && isNumber(band)) {
    parts.push(
      drawn("rect", {
        class: "band",
        x: scale.x(line - band),
        width: scale.x(line + band) - scale.x(line - band),
        y: 0,
        height: BAR.height,
      }),
    );
  }
  if (isNumber(line)) parts.push(drawn("line", { class: "base", x1: scale.x(line), x2: scale.x(line), y1: 0, y2: BAR.height }));
  const colour = method === null ? "var(--ink)" : colourOf(method);
  if (ci) parts.push(drawn("line", { class: "ci", stroke: colour, x1: scale.x(ci[0]), x2: scale.x(ci[1]), y1: middle, y2: middle }));
  const mark = {
    d: method === null ? SHAPES[0] : shapeOf(method),
    fill: colour,
    transform: `translate(${scale.x(mean)} ${middle}) scale(3.8)`,
  };
  return bar("interval", scale.width, parts, drawn("path", mark));
}

function bar(kind, width, ...parts) {
  return drawn(
    "svg",
    { class: `bar ${kind}`, width, viewBox: `0 0 ${width} ${BAR.height}`, height: BAR.height, "aria-hidden": "true" },
    parts,
  );
}
