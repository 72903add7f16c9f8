// A colour and a shape for every method, the same everywhere on the page. Neighbours differ in both, so that neither is needed alone.

const COLOURS = 7; // --c0 ... in colours.css
const SHAPES = [
  "M0,-.9A.9,.9,0,1,1,0,.9A.9,.9,0,1,1,0,-.9Z", // circle
  "M-.8,-.8H.8V.8H-.8Z", // square
  "M0,-1L1,.75H-1Z", // triangle
  "M0,-1.1L.95,0L0,1.1L-.95,0Z", // diamond
  "M-.3,-1H.3V-.3H1V.3H.3V1H-.3V.3H-1V-.3H-.3Z", // plus
  "M0,1L1,-.75H-1Z", // triangle on its tip
];
const UNTUNED_SHAPE = "M-1,-.22H1V.22H-1Z";

let places = new Map();

/** Give every method its place, by name: a method keeps its colour while others come and go in rank. */
function assignColours(methods) {
  places = new Map([...methods].sort().map((method, place) => [method, place]));
}

function colourOf(method) {
  return places.has(method) ? `var(--c${places.get(method) % COLOURS})` : "var(--muted)";
}

function shapeOf(method) {
  return places.has(method) ? SHAPES[places.get(method) % SHAPES.length] : UNTUNED_SHAPE;
}

function glyph(method) {
  return drawn(
    "svg",
    { class: "glyph", viewBox: "-1.3 -1.3 2.6 2.6", "aria-hidden": "true" },
    drawn("path", { d: shapeOf(method), fill: colourOf(method) }),
  );
}

function isFaded(method) {
  return view.marked !== "" && !view.marked.split(" ").includes(idOf(method));
}

/** Return the methods as buttons by which some are made to stand out in table and charts. */
function legend(place, methods) {
  const marked = new Set(view.marked.split(" ").filter(Boolean));
  const toggled = (id) =>
    [...marked]
      .filter((other) => other !== id)
      .concat(marked.has(id) ? [] : [id])
      .join(" ");
  const buttons = methods.map((method) => {
    const id = idOf(method);
    return element(
      "button",
      {
        type: "button",
        id: `mark-${place}-${id}`,
        class: "key",
        "aria-pressed": String(marked.has(id)),
        on: { click: () => setView({ marked: toggled(id) }) },
      },
      glyph(method),
      nameElement(method, 28),
    );
  });
  return element("div", { class: "legend", role: "group", "aria-label": "Methods to stand out" }, buttons);
}
