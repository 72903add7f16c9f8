// Choices that several sections share: which model and task is shown where only one can be, and which rows stand for a method.

/** Return the model and task to show of entries that have both, with the controls to choose others. */
function placeChoice(entries, place) {
  const models = distinct(entries.map((entry) => entry.model)).filter((model) => !view.model || model === view.model);
  const model = models.includes(view.m) ? view.m : (models[0] ?? null);
  const tasks = distinct(entries.filter((entry) => entry.model === model).map((entry) => entry.task)).filter(
    (task) => !view.task || task === view.task,
  );
  const task = tasks.includes(view.t) ? view.t : (tasks[0] ?? null);
  const controls = [
    models.length > 1 ? bound("m", "model", models.map(named), model, place) : null,
    tasks.length > 1 ? bound("t", "task", tasks.map(named), task, place) : null,
  ];
  return { model, task, controls, words: model === null ? "" : `${shortened(task)} with ${shortened(model)}` };
}

/** Return a choice whose value is not the view's own where that is not among the options. */
function bound(key, label, options, value, place) {
  const node = choice(key, label, options, place);
  node.querySelector("select").value = value;
  return node;
}

function controls(...nodes) {
  const shown = nodes.flat().filter(Boolean);
  return shown.length ? element("div", { class: "controls" }, shown) : null;
}

/** Return the entries of a model and task with their rows, those whose rows pass the filters, from the best row on. */
function entriesAt(board, entries, { model, task }) {
  return entries
    .filter((entry) => entry.model === model && entry.task === task)
    .map((entry) => ({ ...entry, of: rowOf(board, model, entry.row) }))
    .filter((entry) => entry.of && passes(entry.of))
    .sort((a, b) => a.of.place - b.of.place);
}

/** Keep one entry per method: the one with the largest measure. */
function bestPerMethod(entries, measure) {
  const best = new Map();
  for (const entry of entries) {
    const known = best.get(entry.of.method);
    if (!known || measure(entry) > measure(known)) best.set(entry.of.method, entry);
  }
  return [...best.values()];
}

/** Return how a row's mark looks in a chart. */
function inkOf(row) {
  return { colour: colourOf(row.method), shape: shapeOf(row.method), opacity: isFaded(row.method) ? 0.15 : 1 };
}

const RAW = {
  colour: { field: "colour", type: "nominal", scale: null, legend: null },
  opacity: { field: "opacity", type: "quantitative", scale: null, legend: null },
};
