// Tables that sort by their headers.

/**
 * Return a table.
 *
 * A column: {key, label, value(row) to sort by, cell(row), words, head, descending, hint}. Rows without a value come last.
 * A group: {heading, heads, rows}; rows are sorted within it, and `heads` holds what its heading shows at a column, by key.
 */
function sortable(name, { columns, groups, rowAttributes = () => ({}), below = () => null }) {
  const [key, direction] = sortingOf(name, columns);
  const column = columns.find((candidate) => candidate.key === key);
  const bodies = groups.map(({ heading, heads, rows }) =>
    element(
      "tbody",
      {},
      heading && headingRow(columns, heading, heads ?? {}),
      sorted(rows, column, direction).map((row) => [
        element(
          "tr",
          rowAttributes(row),
          columns.map((c, n) => cell(c, row, n)),
        ),
        below(row, columns.length),
      ]),
    ),
  );
  const head = element(
    "thead",
    {},
    element(
      "tr",
      {},
      columns.map((c) => header(name, c, c === column ? direction : null)),
    ),
  );
  return element("table", { class: "sortable", id: `table-${name}` }, head, bodies);
}

function headingRow(columns, heading, heads) {
  const own = columns.findIndex((column) => column.key in heads);
  const title = element("th", { colspan: own > 0 ? own : columns.length, scope: "rowgroup" }, element("div", {}, heading));
  const others = own > 0 ? columns.slice(own).map((column) => element("td", { class: "words" }, heads[column.key] ?? null)) : [];
  return element("tr", { class: "heading" }, title, others);
}

function sortingOf(name, columns) {
  const [[key, direction], [fallback, usual]] = [view[name].split(":"), DEFAULTS[name].split(":")];
  return columns.some((column) => column.key === key) ? [key, direction === "desc" ? "desc" : "asc"] : [fallback, usual];
}

function cell(column, row, place) {
  const attributes = { class: column.words ? "words" : "number", "data-column": column.key };
  return place === 0 ? element("th", { ...attributes, scope: "row" }, column.cell(row)) : element("td", attributes, column.cell(row));
}

function header(name, column, direction) {
  const next = direction === null ? (column.descending ? "desc" : "asc") : direction === "desc" ? "asc" : "desc";
  const arrow = element("span", { class: "arrow", "aria-hidden": "true" }, direction === null ? "" : direction === "desc" ? "▾" : "▴");
  const button = element(
    "button",
    {
      type: "button",
      id: `sort-${name}-${column.key}`,
      title: column.hint ?? null,
      on: { click: () => setView({ [name]: `${column.key}:${next}` }) },
    },
    column.label,
    arrow,
  );
  const order = direction === null ? null : direction === "desc" ? "descending" : "ascending";
  return element("th", { scope: "col", "aria-sort": order, class: column.words ? "words" : "number" }, button, column.head ?? null);
}

function sorted(rows, column, direction) {
  const sign = direction === "desc" ? -1 : 1;
  const keyed = rows.map((row, place) => ({ row, place, value: column?.value(row) ?? null }));
  keyed.sort((a, b) => {
    if ((a.value === null) !== (b.value === null)) return a.value === null ? 1 : -1;
    return sign * compared(a.value, b.value) || a.place - b.place;
  });
  return keyed.map(({ row }) => row);
}

function compared(a, b) {
  if (typeof a === "string" && typeof b === "string") return a.localeCompare(b, "en", { numeric: true });
  return a < b ? -1 : a > b ? 1 : 0;
}
