// The page: its sections in order, drawn from the document and the view.

const SECTIONS = [
  ["ranking", "Ranking", "", rankingSection],
  ["fronts", "Score against cost", "", frontsSection],
  ["ladders", "Score against size", "", laddersSection],
  ["comparisons", "Comparisons", "Which rows can be told apart.", comparisonsSection],
  ["tuning", "Tuning budget", "What more grid points buy.", tuningSection],
  ["grids", "Grids", "Where the best point lay.", gridsSection],
  ["axes", "Sensitivity", "How much each hyper-parameter matters.", axesSection],
  ["hardware", "Hardware", "", hardwareSection],
  ["sizes", "Sizes", "How finely the size of a method can be chosen.", sizesSection],
  ["learning", "Training", "Not a result: how the rows trained says nothing of what they generalise.", learningSection],
  ["failures", "Failures", "", failuresSection],
  ["published", "Published elsewhere", "", publishedSection],
  ["drift", "Drift", "The same small trial in every environment, against the first one.", driftSection],
  ["certificate", "Certificate", "Every rule, derived again from the recorded runs alone.", certificateSection],
  ["notes", "What is missing", "", notesSection],
  ["reading", "How to read this", "", readingSection],
];

let board = null;
let sweeps = [];
let connection = "";

function render() {
  const held = heldPlace();
  applyTheme();
  const { state } = verdictOf(board.certificate);
  document.documentElement.dataset.verdict = state;
  document.getElementById("verdict").replaceChildren(verdictLine(board));
  document.getElementById("top").replaceChildren(...titleBlock());
  const sections = SECTIONS.map(sectionOf).filter(Boolean);
  document.getElementById("main").replaceChildren(filterBar(board, sweeps), ...sections);
  document.getElementById("contents").replaceChildren(contentsList(sections));
  document.getElementById("foot").replaceChildren(...footer());
  restorePlace(held);
  drawCharts(board);
}

function sectionOf([id, title, lead, content]) {
  const nodes = content(board);
  if (nodes === null) return null;
  const heading = element("h2", { id: `${id}-title` }, title);
  const shown = nodes.flat().filter(Boolean);
  const bare = shown.length === 1 && shown[0].tagName === "P";
  return element(
    "section",
    { id, class: bare ? "bare" : null, "aria-labelledby": `${id}-title`, tabindex: -1 },
    heading,
    lead && !bare && element("p", { class: "lead" }, lead),
    ...shown,
  );
}

function titleBlock() {
  const facts = [
    plural(board.methods.length, "method"),
    plural(board.rows.length, "row"),
    plural(board.models.length, "model"),
    plural(board.tasks.size, "task"),
    board.digest ? ["digest ", element("code", { title: visible(board.digest) }, shortened(board.digest, 13))] : null,
  ].filter(Boolean);
  return [
    element(
      "div",
      { class: "title" },
      element("p", { class: "over" }, "fairsweep leaderboard", board.running ? element("span", { class: "running" }, "running") : null),
      element("h1", {}, nameElement(board.sweep ?? "no sweep", 80)),
      element(
        "p",
        { class: "facts-line" },
        facts.map((fact, n) => [n ? element("span", { class: "dot" }, " · ") : "", fact]),
      ),
    ),
    themeButton(),
    element("div", { class: "findings" }, findings(board)),
    connection && element("p", { class: "connection", role: "status" }, connection),
  ].filter(Boolean);
}

function contentsList(sections) {
  const items = sections.map((section) =>
    element("li", {}, element("a", { href: `#${section.id}`, id: `to-${section.id}` }, section.querySelector("h2").textContent)),
  );
  return element("ol", {}, items);
}

function footer() {
  const kept = isLive()
    ? "This page asks only the server it came from."
    : "This file holds all that it shows and asks nothing of any server.";
  return [paragraph("Scores in per cent. ", kept, " Charts by Vega-Lite.")];
}

const THEMES = { "": ["light", "◐ as the system"], light: ["dark", "○ light"], dark: ["", "● dark"] };

function themeButton() {
  const [next, words] = THEMES[view.theme] ?? THEMES[""];
  return element(
    "button",
    {
      type: "button",
      id: "theme",
      class: "quiet",
      "aria-label": `Colours: ${words.slice(2)}`,
      on: { click: () => setView({ theme: next }) },
    },
    words,
  );
}

function applyTheme() {
  if (view.theme) document.documentElement.dataset.theme = view.theme;
  else delete document.documentElement.dataset.theme;
}

/** Return what must be found again after the page was made anew: focus, selection and how far boxes are scrolled. */
function heldPlace() {
  const focused = document.activeElement;
  const boxes = [...document.querySelectorAll(".scrolling")].map((box) => [box.id, box.scrollLeft, box.scrollTop]);
  return {
    id: focused?.id,
    selection: focused?.id === "filter-text" ? [focused.selectionStart, focused.selectionEnd] : null,
    boxes,
    y: scrollY,
  };
}

function restorePlace({ id, selection, boxes, y }) {
  for (const [box, left, top] of boxes) document.getElementById(box)?.scrollTo(left, top);
  const focused = id ? document.getElementById(id) : null;
  if (focused && focused !== document.activeElement) focused.focus({ preventScroll: true });
  if (selection && focused) focused.setSelectionRange(...selection);
  scrollTo({ top: y, behavior: "instant" });
}

/** Follow a link within the page: the fragment holds the view, so that it cannot hold the place as usual. */
function followLink(event) {
  const link = event.target.closest?.('a[href^="#"]');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const id = link.getAttribute("href").slice(1);
  if (!document.getElementById(id)) return;
  event.preventDefault();
  setView({ at: SECTIONS.some(([section]) => section === id) ? id : view.at }, { quiet: true });
  goTo(id);
}

/** Show what the address says after it was changed by hand, or by going back. */
function followAddress() {
  const before = view.at;
  readAddress();
  render();
  if (view.at && view.at !== before) goTo(view.at);
}

function goTo(id) {
  const target = document.getElementById(id);
  target?.scrollIntoView();
  target?.focus({ preventScroll: true });
}

function openForPrint() {
  document.querySelectorAll("details:not([open])").forEach((node) => {
    node.dataset.closed = "";
    node.open = true;
  });
}

function closeAfterPrint() {
  document.querySelectorAll("details[data-closed]").forEach((node) => {
    delete node.dataset.closed;
    node.open = false;
  });
}

function renew(newer) {
  const before = board.rows.length;
  board = boardOf(newer);
  render();
  const words =
    board.rows.length === before ? "The leaderboard was updated." : `The leaderboard was updated: ${plural(board.rows.length, "row")}.`;
  document.getElementById("announcement").textContent = words;
}

async function start() {
  board = boardOf(JSON.parse(document.getElementById("document").textContent));
  readAddress();
  whenChanged = render;
  render();
  if (view.at) goTo(view.at);
  document.addEventListener("click", followLink);
  addEventListener("hashchange", followAddress);
  addEventListener("beforeprint", openForPrint);
  addEventListener("afterprint", closeAfterPrint);
  redrawOnResize();
  if (!isLive()) return;
  keepUp(board, renew, (words) => {
    if (words === connection) return;
    connection = words;
    render();
  });
  sweeps = await sweepNames();
  if (sweeps.length) render();
}

start();
