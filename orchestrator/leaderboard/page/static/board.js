// The document as the sections read it.

const UNTUNED = "base";

/** Return the board of a document: its rows with their names and ids, and what there is to choose from. */
function boardOf(document) {
  const rows = (document.rows ?? []).map((row, place) => namedRow(row, place, document.names?.[place]));
  const tuned = rows.filter((row) => !row.untuned);
  const tasks = new Map(Object.entries(document.tasks ?? {}));
  for (const row of rows) for (const [task, score] of Object.entries(row.tasks)) tasks.set(task, score.main);
  const analysis = document.analysis ?? {};
  assignColours(new Set(tuned.map((row) => row.method)));
  return {
    ...document,
    rows,
    tasks,
    models: distinct(rows.map((row) => row.model)),
    methods: distinct(tuned.map((row) => row.method)),
    families: distinct(tuned.map((row) => row.family)),
    part: (name) => analysis[name] ?? [],
    deviceHours: analysis.device_hours ?? {},
    certificate: { ok: false, rules: [], missing: [], ...document.certificate },
    found: new Map(rows.map((row) => [`${row.model}\n${row.name}`, row])),
    experiment: document.experiment_id ?? null,
  };
}

/** Return a row as the page reads it; `given` is its name as the analysis has it. */
function namedRow(row, place, given) {
  const capacity = settings(row.capacity);
  const name = given ?? (capacity ? `${row.method} (${capacity})` : row.method);
  return {
    ...row,
    place,
    name,
    id: idOf(row.model, name),
    untuned: row.implementation === UNTUNED,
    refused: Object.keys(row.tasks ?? {}).length === 0,
    tasks: row.tasks ?? {},
    marks: row.marks ?? [],
    runs: row.runs ?? [],
    failed_runs: row.failed_runs ?? [],
    published: row.published ?? [],
    family: row.family || row.implementation,
  };
}

function distinct(values) {
  return [...new Set(values)];
}

/** Return the row that the analysis names. */
function rowOf(board, model, name) {
  return board.found.get(`${model}\n${name}`) ?? null;
}

/** Return what a row scored on a task, or on average for the empty task; null where it is incomplete. */
function scoreOf(row, task) {
  if (task === "") return isNumber(row.average) ? { mean: row.average, ci: row.average_ci, std: null } : null;
  const score = row.tasks[task];
  return score?.metrics?.[score.main] ?? null;
}

function untunedOf(board, model) {
  return board.rows.find((row) => row.untuned && row.model === model) ?? null;
}

/** Return the score of the untuned model, or null. */
function untunedScore(board, model, task) {
  const row = untunedOf(board, model);
  return row ? (scoreOf(row, task)?.mean ?? null) : null;
}

/** Return whether a row passes the filters; the untuned model passes those that concern methods. */
function passes(row) {
  if (view.model && row.model !== view.model) return false;
  if (view.task && !(view.task in row.tasks) && !row.refused) return false;
  if (row.untuned) return true;
  if (view.family && row.family !== view.family) return false;
  if (view.budget && !(isNumber(row.trainable) && row.trainable <= Number(view.budget))) return false;
  const words = view.text.toLowerCase().split(/\s+/).filter(Boolean);
  const text = `${row.name} ${row.implementation} ${row.family}`.toLowerCase();
  return words.every((word) => text.includes(word));
}

function shownRows(board) {
  return board.rows.filter(passes);
}

function shownModels(board) {
  return view.model ? board.models.filter((model) => model === view.model) : board.models;
}

/** Return the task that scores are shown of: the only one, the chosen one, or none for the average. */
function shownTask(board) {
  if (board.tasks.has(view.task)) return view.task;
  return board.tasks.size === 1 ? [...board.tasks.keys()][0] : "";
}

function taskWords(board, task) {
  return task === "" ? `average over ${board.tasks.size} tasks` : `${shortened(task)} ${shortened(board.tasks.get(task) ?? "")}`;
}
