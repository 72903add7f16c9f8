// The state of the view. It stands in the address after `#`, so that a link shows the same view, in a file as from a server.

const DEFAULTS = Object.freeze({
  at: "", // the section in view when a link to it was followed
  theme: "", // light | dark; else as the system has it
  model: "",
  task: "",
  family: "",
  text: "",
  budget: "", // largest number of trainable parameters
  marked: "", // methods that stand out, by id
  open: "", // ids of what is open
  ranking: "score:desc", // sorting of a table: column and direction
  hardware: "trainable:asc",
  failures: "row:asc",
  pairs: "difference:desc",
  cost: "trainable",
  m: "", // model and task of the sections that show one task
  t: "",
  rows: "best", // best | all: rows per method in the curves
  method: "", // of the grids
  test: "", // family of comparisons
  against: "", // row that others are compared with
});

const view = { ...DEFAULTS };
let whenChanged = () => {};

function readAddress() {
  const fragment = location.hash.slice(1);
  const found = new URLSearchParams(fragment.includes("=") ? fragment : "");
  for (const key of Object.keys(DEFAULTS)) view[key] = found.get(key) ?? DEFAULTS[key];
  if (fragment && !fragment.includes("=")) view.at = fragment;
}

function writeAddress() {
  const found = new URLSearchParams();
  for (const [key, value] of Object.entries(view)) if (value !== DEFAULTS[key]) found.set(key, value);
  const text = found.toString();
  try {
    history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
  } catch {
    // Shown inside another page, which keeps its address to itself.
  }
}

/** Change the view; the page is drawn anew unless `quiet`. */
function setView(changes, { quiet = false } = {}) {
  Object.assign(view, changes);
  writeAddress();
  if (!quiet) whenChanged();
}

function isOpen(id) {
  return view.open.split(" ").includes(id);
}

function setOpen(id, open, { quiet = true } = {}) {
  if (isOpen(id) === open) return;
  const others = view.open.split(" ").filter((other) => other && other !== id);
  setView({ open: (open ? [...others, id] : others).join(" ") }, { quiet });
}

/** Return a short id of texts: FNV-1a, 32 bits. */
function idOf(...texts) {
  let hash = 0x811c9dc5;
  for (const character of texts.join("\n")) hash = Math.imul(hash ^ character.codePointAt(0), 0x01000193) >>> 0;
  return hash.toString(36);
}
