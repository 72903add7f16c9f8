// Results that were published and not run here, and how far environments drifted.

function publishedSection(board) {
  const references = board.part("references").filter((entry) => !view.task || entry.task === view.task);
  if (references.length === 0) return null;
  const sources = distinct(references.map((entry) => entry.source));
  const lines = references.map((entry) => [
    nameElement(entry.method),
    nameElement(entry.model),
    nameElement(entry.task),
    nameElement(entry.metric),
    element("b", {}, percent(entry.score)),
    interval(entry.ci) || ABSENT,
    whole(entry.trainable),
    isNumber(entry.seconds_per_step) ? significant(entry.seconds_per_step) : ABSENT,
    isNumber(entry.peak_bytes) ? bytes(entry.peak_bytes) : ABSENT,
    isNumber(entry.adapter_bytes) ? bytes(entry.adapter_bytes) : ABSENT,
    [element("sup", {}, String(sources.indexOf(entry.source) + 1)), " ", visible((entry.notes ?? []).join("; "))],
  ]);
  const headers = [
    "method",
    "model",
    "task",
    "metric",
    "score, %",
    "binomial 95 %",
    "parameters",
    "s / step",
    "peak memory",
    "adapter file",
    "source, notes",
  ];
  return [
    element("p", { class: "stamp" }, "Published, not run here. Other data, budgets and grids: never ranked with the rows above."),
    scrolling("published", "Published results, scrolls sideways", simpleTable(headers, lines, 4)),
    element(
      "ol",
      { class: "footnotes" },
      sources.map((source) => element("li", {}, nameElement(source, 200))),
    ),
  ];
}

function driftSection(board) {
  const drift = board.part("drift");
  if (drift.length === 0) return null;
  const lines = drift.map((entry, n) => [
    element("code", { title: visible(entry.environment) }, shortened(entry.environment, 12)),
    n === 0 && entry.changes.length === 0
      ? "the first environment"
      : entry.changes.map((change) => shortened(change, 80)).join("; ") || ABSENT,
    isNumber(entry.deviation) ? significant(entry.deviation) : entry.run_id ? "cannot be compared" : "has not run there",
    entry.run_id ? runLink(board, entry.run_id) : ABSENT,
  ]);
  return [
    scrolling(
      "drift",
      "Environments",
      simpleTable(["environment", "what changed", "largest deviation of the training loss", "sentinel run"], lines, 2),
    ),
  ];
}
