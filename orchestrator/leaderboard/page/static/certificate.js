// The certificate rule by rule, with the facts that it rests on.

function certificateSection(board) {
  const { rules, missing } = board.certificate;
  if (rules.length === 0) return [paragraph("No rule was checked: nothing has been recorded.")];
  return [
    element("div", { class: "rules" }, rules.map(ruleItem)),
    missing?.length
      ? expandable(
          "missing",
          `${plural(missing.length, "planned trial")} without a complete run`,
          element(
            "ul",
            {},
            missing.map((words) => element("li", {}, visible(words))),
          ),
        )
      : null,
  ];
}

function ruleItem(rule) {
  const { deviations = [], marks = {}, ...facts } = rule.evidence ?? {};
  const summary = [
    element("span", { class: `sign ${rule.ok ? "ok" : "bad"}` }, rule.ok ? "✓" : "✕"),
    " ",
    element("b", {}, visible(rule.id)),
    " ",
    visible(rule.title),
    element("span", { class: "unseen" }, rule.ok ? ", holds" : ", broken"),
  ];
  const id = `rule-${rule.id.replace(/[^A-Za-z0-9]/g, "")}`;
  const broken = deviations.length
    ? element(
        "ul",
        { class: "deviations" },
        deviations.map((words) => element("li", {}, shortened(words, 500))),
      )
    : null;
  const marked = Object.keys(marks).length ? [element("h4", {}, "Marks"), evidence(marks)] : null;
  const node = expandable(
    id,
    summary,
    !rule.ok && !deviations.length ? paragraph("Broken; the evidence names no row.") : null,
    marked,
    evidence(facts),
  );
  // What is broken is seen without opening anything.
  return element("div", { class: rule.ok ? "rule" : "rule broken" }, node, broken);
}

/** Return any JSON as nested lists: objects by their keys, lists by their entries. */
function evidence(value, depth = 0) {
  if (Array.isArray(value)) {
    if (value.length === 0) return element("span", { class: "muted" }, "none");
    if (value.every((entry) => entry === null || typeof entry !== "object"))
      return element("span", {}, value.map((entry) => shortened(entry, 200)).join(", "));
    return element(
      "ul",
      {},
      value.map((entry) => element("li", {}, evidence(entry, depth + 1))),
    );
  }
  if (value === null || typeof value !== "object") return element("span", {}, value === null ? "none" : shortened(value, 400));
  const entries = Object.entries(value);
  if (entries.length === 0) return element("span", { class: "muted" }, "none");
  const nested = (entry) => entry !== null && typeof entry === "object" && !Array.isArray(entry) && Object.keys(entry).length > 0;
  if (depth > 0 && !entries.some(([, entry]) => nested(entry) || Array.isArray(entry))) {
    return element(
      "span",
      {},
      entries.map(([key, entry]) => `${shortened(key)}=${entry === null ? "none" : shortened(entry, 80)}`).join(", "),
    );
  }
  const terms = entries.map(([key, entry]) =>
    element("div", {}, element("dt", {}, nameElement(key.replaceAll("_", " "), 120)), element("dd", {}, evidence(entry, depth + 1))),
  );
  return element("dl", { class: "evidence" }, terms);
}

function notesSection(board) {
  const notes = board.part("notes");
  return notes.length
    ? [
        element(
          "ul",
          {},
          notes.map((note) => element("li", {}, shortened(note, 600))),
        ),
      ]
    : null;
}
