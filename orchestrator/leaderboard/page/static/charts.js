// Charts by Vega-Lite. A specification is data: values carry the words of their tooltip (`tip`), and the row (`id`) or runs of a click.

const FONT = '"Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "Liberation Sans", Arial, sans-serif';
const CONFIG = {
  background: null,
  autosize: { type: "fit", contains: "padding" },
  font: FONT,
  view: { stroke: null },
  axis: {
    domainColor: "var(--line)",
    tickColor: "var(--line)",
    gridColor: "var(--grid)",
    labelColor: "var(--muted)",
    titleColor: "var(--muted)",
    titleFontWeight: "normal",
    labelFontSize: 11,
    titleFontSize: 11.5,
    tickSize: 4,
    labelLimit: 170,
    titlePadding: 8,
  },
  title: { color: "var(--ink)", fontSize: 12, fontWeight: "normal", anchor: "start", offset: 6, limit: 240 },
  header: { labelColor: "var(--ink)", titleColor: "var(--muted)", labelFontSize: 11.5, labelLimit: 220 },
  legend: {
    labelColor: "var(--ink)",
    titleColor: "var(--muted)",
    titleFontWeight: "normal",
    labelFontSize: 11,
    titleFontSize: 11,
    labelLimit: 160,
  },
  text: { fill: "var(--ink)", fontSize: 11 },
  rule: { stroke: "var(--muted)" },
};

const charts = new Map();
let shownBoard = null;
const waiting = new Set();
const watcher = new IntersectionObserver(
  (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => draw(entry.target)),
  {
    rootMargin: "400px",
  },
);

/**
 * Return the place of a chart, drawn once it comes near the window or the page is idle. A chart that did not change keeps its place.
 *
 * `specify(width)` returns the specification for a width in pixels; `label` says in words what is drawn.
 */
function chart(id, label, specify, height = 260) {
  let known = charts.get(id);
  if (!known) {
    const node = element("div", { class: "chart", id: `chart-${id}`, role: "img", style: { "--height": `${height}px` } });
    known = { node, drawn: null, result: null };
    charts.set(id, known);
    watcher.observe(node);
  }
  known.node.setAttribute("aria-label", visible(label));
  known.specify = specify;
  waiting.add(known);
  return known.node;
}

/** Draw the charts that are in the window now, and the others when there is time. */
function drawCharts(board) {
  shownBoard = board;
  for (const [id, known] of charts) if (!known.node.isConnected) forget(id, known);
  for (const known of waiting) if (isNear(known.node)) draw(known.node);
  (window.requestIdleCallback ?? setTimeout)(drawWaiting, { timeout: 3000 });
}

function drawWaiting() {
  const next = waiting.values().next().value;
  if (!next) return;
  draw(next.node);
  (window.requestIdleCallback ?? setTimeout)(drawWaiting, { timeout: 3000 });
}

function isNear(node) {
  const box = node.getBoundingClientRect();
  return box.bottom > -400 && box.top < innerHeight + 400;
}

function forget(id, known) {
  watcher.unobserve(known.node);
  known.result?.finalize();
  waiting.delete(known);
  charts.delete(id);
}

async function draw(node) {
  const known = charts.get(node.id.replace(/^chart-/, ""));
  if (!known || !node.isConnected || node.clientWidth === 0) return;
  waiting.delete(known);
  const spec = withoutEmptyLayers(known.specify(node.clientWidth));
  const text = JSON.stringify(spec);
  if (text === known.drawn) return;
  known.drawn = text;
  const options = { mode: "vega-lite", renderer: "svg", ast: true, actions: false, defaultStyle: false, config: CONFIG, tooltip: showTip };
  const place = element("div");
  const result = await vegaEmbed(place, spec, options);
  if (known.drawn !== text) return result.finalize();
  known.result?.finalize();
  known.result = result;
  node.replaceChildren(place);
  node.classList.add("drawn");
  result.view.addEventListener("click", (_, item) => followClick(item?.datum));
}

function withoutEmptyLayers(spec) {
  return { ...spec, layer: spec.layer.filter((layer) => layer.data.values.length) };
}

function followClick(datum) {
  if (!datum || !shownBoard) return;
  if (datum.runs)
    showCard(visible(datum.title ?? "Runs"), tipList(datum.tip ?? []), datum.runs.length ? runList(shownBoard, datum.runs) : null);
  else if (datum.id) showRow(shownBoard, datum.id);
}

/** Vega's handler of tooltips: `value` is the datum under the pointer. */
function showTip(_, event, __, value) {
  const tooltip = document.getElementById("tooltip");
  tooltip.hidden = !value?.tip;
  if (tooltip.hidden) return;
  tooltip.replaceChildren(element("b", {}, visible(value.title ?? "")), tipList(value.tip));
  const [right, below] = [event.clientX + 14, event.clientY + 14];
  tooltip.style.left = `${Math.max(4, Math.min(right, innerWidth - tooltip.offsetWidth - 8))}px`;
  tooltip.style.top = `${below + tooltip.offsetHeight > innerHeight ? event.clientY - tooltip.offsetHeight - 10 : below}px`;
}

function tipList(tip) {
  return element(
    "dl",
    {},
    tip.map(([term, value]) => [element("dt", {}, visible(term)), element("dd", {}, visible(value))]),
  );
}

/** Draw the charts anew once the window has kept a new width for a moment. */
function redrawOnResize() {
  let timer = 0;
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(timer);
    timer = setTimeout(() => {
      for (const known of charts.values()) waiting.add(known);
      drawCharts(shownBoard);
    }, 150);
  });
}

/** Return a figure: charts beside one another with a caption below. */
function figure(caption, ...panels) {
  return element("figure", {}, element("div", { class: "panels" }, panels), element("figcaption", {}, caption));
}

function panel(title, node, kind = "") {
  return element("div", { class: `panel ${kind}` }, title && element("h4", {}, title), node);
}
