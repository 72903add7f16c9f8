// What the rows cost, and which of their runs failed.

const MEASURES = [
  ["trainable", "parameters", whole],
  ["adapter_bytes", "adapter file", bytes],
  ["seconds_per_step", "s / step", significant],
  ["peak_bytes", "peak memory", bytes],
  ["flops", "FLOPs / step", compact],
  ["macs", "MACs / step", compact],
  ["load_seconds", "load, s", significant],
];

function hardwareSection(board) {
  const rows = shownRows(board).filter((row) => !row.untuned && !row.refused);
  const measures = MEASURES.filter(([key]) => rows.some((row) => isNumber(row[key])));
  if (measures.length === 0) return null;
  const columns = [
    { key: "method", label: "row", words: true, value: (row) => row.name, cell: (row) => [glyph(row.method), " ", rowName(row)] },
    ...measures.map(([key, label, format]) => ({
      key,
      label,
      value: (row) => (isNumber(row[key]) ? row[key] : null),
      cell: (row) => (isNumber(row[key]) ? format(row[key]) : ABSENT),
    })),
  ];
  const groups = shownModels(board)
    .map((model) => ({ heading: board.models.length > 1 ? nameElement(model, 80) : null, rows: rows.filter((row) => row.model === model) }))
    .filter((group) => group.rows.length);
  return [
    scrolling("hardware", "Hardware cost, scrolls sideways", sortable("hardware", { columns, groups, rowAttributes })),
    element(
      "p",
      { class: "hint" },
      "Seconds and operations: mean over the finished report runs; memory: their largest. Adapter file: with the head.",
    ),
    deviceHours(board),
  ];
}

function deviceHours(board) {
  const entries = Object.entries(board.deviceHours).filter(([, hours]) => isNumber(hours));
  if (entries.length === 0) return null;
  entries.sort(([, a], [, b]) => b - a);
  const total = entries.reduce((sum, [, hours]) => sum + hours, 0);
  const items = entries.map(([label, hours]) =>
    element("div", {}, element("dt", {}, nameElement(label, 28)), element("dd", {}, `${significant(hours)} h`)),
  );
  return expandable("device-hours", `Device hours of all trials: ${significant(total)} h`, element("dl", { class: "facts" }, items));
}

function failuresSection(board) {
  const failed = shownRows(board).flatMap((row) => row.failed_runs.map((run) => ({ row, run })));
  const selecting = shownRows(board).flatMap((row) =>
    Object.entries(row.tasks)
      .filter(([, score]) => score.select_failed > 0)
      .map(([task, score]) => ({ row, task, count: score.select_failed })),
  );
  if (failed.length + selecting.length === 0) return [paragraph("Every recorded run of these rows finished.")];
  const columns = [
    {
      key: "row",
      label: "row",
      words: true,
      value: ({ row }) => row.name,
      cell: ({ row }) => [glyph(row.method), " ", rowName(row), element("small", { class: "muted" }, " ", nameElement(row.model, 24))],
    },
    { key: "task", label: "task", words: true, value: ({ run }) => run.task, cell: ({ run }) => nameElement(run.task) },
    { key: "seed", label: "seed", value: ({ run }) => run.seed, cell: ({ run }) => String(run.seed) },
    {
      key: "status",
      label: "status",
      words: true,
      value: ({ run }) => run.status,
      cell: ({ run }) => element("b", {}, statusWords(run.status)),
    },
    { key: "error", label: "error", words: true, value: ({ run }) => run.error ?? null, cell: ({ run }) => errorCell(run) },
    { key: "run", label: "run", words: true, value: ({ run }) => run.run_id, cell: ({ run }) => runLink(board, run.run_id) },
  ];
  const items = selecting.map(({ row, task, count }) =>
    element("li", {}, rowName(row), ": ", nameElement(task), `, ${plural(count, "trial")}`),
  );
  return [
    failed.length
      ? scrolling("failures", "Failed report runs", sortable("failures", { columns, groups: [{ heading: null, rows: failed }] }))
      : null,
    failed.length
      ? element(
          "p",
          { class: "hint" },
          "A diverged report run scores as the untuned model; any other failure leaves its row incomplete and unranked.",
        )
      : null,
    selecting.length
      ? expandable("select-failed", `Select trials that did not finish, of ${plural(selecting.length, "cell")}`, element("ul", {}, items))
      : null,
  ];
}

function errorCell(run) {
  if (!run.error) return ABSENT;
  const lines = visibleLines(run.error);
  if (lines.length <= 90 && !lines.includes("\n")) return element("span", { class: "error" }, lines);
  return expandable(`error-${idOf(run.run_id)}`, shortened(run.error, 80), element("pre", {}, lines.slice(0, 20_000)));
}
