// What is shown: sweep, model, task, family, name, parameter budget. Everything on the page follows.

function filterBar(board, sweeps) {
  const controls = [
    sweeps.length ? sweepChoice(board, sweeps) : null,
    board.models.length > 1 ? choice("model", "model", [["", "all models"], ...board.models.map(named)], "filter") : null,
    board.tasks.size > 1 ? choice("task", "task", [["", "all tasks"], ...[...board.tasks.keys()].map(named)], "filter") : null,
    board.families.length > 1 ? choice("family", "family", [["", "all families"], ...board.families.map(named)], "filter") : null,
    budgetChoice(board),
    textFilter(),
    anyFilter() ? element("button", { type: "button", id: "clear", class: "quiet", on: { click: clearFilters } }, "clear") : null,
  ];
  return element(
    "form",
    { id: "filters", role: "search", "aria-label": "Filters", on: { submit: (event) => event.preventDefault() } },
    controls,
  );
}

const FILTERS = ["model", "task", "family", "budget", "text"];

function anyFilter() {
  return FILTERS.some((key) => view[key] !== DEFAULTS[key]);
}

function clearFilters() {
  setView(Object.fromEntries(FILTERS.map((key) => [key, DEFAULTS[key]])));
}

function named(name) {
  return [name, shortened(name, 40)];
}

/** Return a labelled choice that is bound to a key of the view. */
function choice(key, label, options, place) {
  const id = `${place}-${key}`;
  const select = element("select", { id, on: { change: (event) => setView({ [key]: event.target.value }) } });
  select.append(...options.map(([value, words]) => element("option", { value, selected: value === view[key] }, words)));
  return labelled(label, select);
}

function labelled(label, control) {
  return element("div", { class: "choice" }, element("label", { for: control.id }, label), control);
}

function sweepChoice(board, sweeps) {
  const follow = (event) => location.assign(`${location.pathname}?${new URLSearchParams({ sweep: event.target.value })}${location.hash}`);
  const options = sweeps.map((name) => element("option", { value: name, selected: name === board.sweep }, shortened(name, 40)));
  return labelled("sweep", element("select", { id: "filter-sweep", on: { change: follow } }, options));
}

/** Offer the budgets that the sweep was solved for, else round numbers between its smallest and largest row. */
function budgetChoice(board) {
  const sizes = board.rows.map((row) => row.trainable).filter((size) => size > 0);
  if (distinct(sizes).length < 2) return null;
  const solved = distinct(
    board
      .part("families")
      .map((family) => family.budget)
      .filter(isNumber),
  );
  const budgets = solved.length ? solved.sort((a, b) => a - b) : roundBudgets(Math.min(...sizes), Math.max(...sizes));
  if (view.budget && !budgets.includes(Number(view.budget))) budgets.push(Number(view.budget));
  return choice(
    "budget",
    "parameters",
    [["", "any number"], ...budgets.map((budget) => [String(budget), `at most ${compact(budget)}`])],
    "filter",
  );
}

function roundBudgets(smallest, largest) {
  const found = [];
  for (let power = Math.floor(Math.log10(smallest)); power <= Math.log10(largest); power += 1) {
    for (const factor of [1, 3]) found.push(factor * 10 ** power);
  }
  return found.filter((budget) => budget >= smallest && budget < largest);
}

function textFilter() {
  const input = element("input", {
    id: "filter-text",
    type: "search",
    value: view.text,
    placeholder: "lora, tensor …",
    spellcheck: "false",
    autocomplete: "off",
    on: { input: (event) => event.isComposing || setView({ text: event.target.value }) },
  });
  input.addEventListener("compositionend", () => setView({ text: input.value }));
  return labelled("method", input);
}
