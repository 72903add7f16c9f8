// Elements, made by name. Text becomes text: nothing here reads markup.

const SVG = "http://www.w3.org/2000/svg";

/**
 * Return an element. `on` holds listeners, `style` custom properties; an attribute of null or false is left out, one of true is empty.
 */
function element(tag, attributes = {}, ...children) {
  return furnished(document.createElement(tag), attributes, children);
}

function drawn(tag, attributes = {}, ...children) {
  return furnished(document.createElementNS(SVG, tag), attributes, children);
}

function furnished(node, { on = {}, style = {}, ...attributes }, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  for (const [name, value] of Object.entries(style)) node.style.setProperty(name, value);
  for (const [name, listener] of Object.entries(on)) node.addEventListener(name, listener);
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Return a name that neither changes the direction of the text around it nor fills the page. */
function nameElement(text, limit = 44) {
  const shown = shortened(text, limit);
  return element("bdi", { title: shown === String(text) ? null : visible(text) }, shown);
}

/** Return a row's label with its capacity in a lighter hand. */
function rowName(row, limit = 40) {
  const capacity = settings(row.capacity);
  return element(
    "span",
    { class: "row-name" },
    nameElement(row.method, limit),
    capacity && [" ", element("small", {}, element("bdi", {}, capacity))],
  );
}

function paragraph(...children) {
  return element("p", {}, ...children);
}

/** Return a box that scrolls sideways by itself, and keeps its place when the page is made anew. */
function scrolling(id, label, ...children) {
  return element("div", { class: "scrolling", id: `scroll-${id}`, role: "region", "aria-label": label, tabindex: 0 }, ...children);
}

/** Return a plain table. Cells are texts or elements; `left` counts the columns of words. */
function simpleTable(headers, lines, left = 1) {
  const align = (n) => (n < left ? "words" : "number");
  return element(
    "table",
    {},
    element(
      "thead",
      {},
      element(
        "tr",
        {},
        headers.map((header, n) => element("th", { scope: "col", class: align(n) }, header)),
      ),
    ),
    element(
      "tbody",
      {},
      lines.map((line) =>
        element(
          "tr",
          {},
          line.map((cell, n) => element("td", { class: align(n) }, cell)),
        ),
      ),
    ),
  );
}

/** Return a part that opens; whether it is open stands in the address. */
function expandable(id, summary, ...children) {
  const node = element("details", { id, open: isOpen(id) }, element("summary", { id: `${id}-summary` }, summary), ...children);
  // What is opened to be printed is not opened in the view.
  node.addEventListener("toggle", () => "closed" in node.dataset || setOpen(id, node.open));
  return node;
}
