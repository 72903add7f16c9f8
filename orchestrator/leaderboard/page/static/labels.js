// Names beside points of a chart, where there is room for them.

/** Return the names of points, those on the left to their right, before a rim that keeps them legible over bars. */
function frontLabels(values, x, y) {
  const rims = [{ stroke: "var(--paper)", strokeWidth: 4, strokeJoin: "round", fill: "var(--paper)" }, { fill: "var(--ink)" }];
  return [true, false].flatMap((left) =>
    rims.map((rim) => ({
      data: { values: values.filter((value) => value.left === left) },
      mark: { type: "text", align: left ? "left" : "right", dx: left ? 7 : -7, dy: -9, limit: 170, fontSize: 11, ...rim },
      encoding: { x, y, text: { field: "title", type: "nominal" } },
    })),
  );
}

const LABEL = { rise: 9, line: 14, letter: 6.2, most: 28 };

/** Keep the labels that lie over no point and no other label; the best row has one anyway. `all` are the values of the whole plot. */
function spacedOut(values, all, width) {
  const across = placeIn(
    all.map((value) => Math.log(value.x)),
    width - 70,
  );
  const up = placeIn(all.flatMap((value) => [value.y, value.low, value.high]).filter(isNumber), 270);
  const points = all.map((value) => ({ id: value.id, x: across(Math.log(value.x)), y: up(value.y) }));
  const kept = [];
  for (const value of [...values].sort((a, b) => b.y - a.y)) {
    const own = points.find((point) => point.id === value.id);
    const length = LABEL.letter * Math.min(value.title.length, LABEL.most) + 12;
    const sides = [true, false].map((left) => ({ ...value, left, from: left ? own.x : own.x - length, to: left ? own.x + length : own.x }));
    const boxes = sides.map((box) => ({ ...box, height: own.y + LABEL.rise })).filter((box) => box.from > -30 && box.to < width - 30);
    const free = boxes.find((box) => isFree(box, points, kept)) ?? (kept.length ? null : boxes[boxes.length - 1]);
    if (free) kept.push(free);
  }
  return kept;
}

function isFree(box, points, labels) {
  const apart = (other) => other.to < box.from || box.to < other.from || Math.abs(other.height - box.height) > LABEL.line;
  const clear = ({ id, x, y }) => id === box.id || x < box.from - 4 || x > box.to + 4 || Math.abs(y - box.height) > 0.7 * LABEL.line;
  return labels.every(apart) && points.every(clear);
}

/** Return where numbers lie, in pixels, if all of them take up `size`. */
function placeIn(numbers, size) {
  const [low, high] = [Math.min(...numbers), Math.max(...numbers)];
  return (number) => (size * (number - low)) / (high - low || 1);
}
