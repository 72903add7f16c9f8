// How the rows trained. It says nothing of what they generalise, and stands apart from the scores for that reason.

function learningSection(board) {
  const entries = board.part("learning");
  const place = placeChoice(entries, "learning");
  const found = entriesAt(board, entries, place);
  if (found.length === 0) return null;
  const shown = view.rows === "all" ? found : bestPerMethod(found, (entry) => -entry.of.place);
  const curved = shown.filter((entry) => (entry.curve ?? []).length > 1);
  const specify = (width) => lossSpec(curved, width);
  const loss = `Training loss, mean over the report seeds, for ${place.words}.`;
  const caption = `${loss} A lower loss is no better a model: compare scores in the ranking.`;
  return [
    controls(place.controls, rowsChoice("learning")),
    curved.length ? figure(caption, panel(null, chart("learning", `Training loss, ${place.words}`, specify, 300), "full")) : null,
    expandable(
      "learning-steps",
      "Last training loss, and steps to reach a score",
      scrolling("learning", "Steps to reach a score", learningTable(found)),
    ),
  ];
}

function lossSpec(entries, width) {
  const values = entries.flatMap((entry) =>
    entry.curve.map(([step, loss]) => ({
      ...inkOf(entry.of),
      id: entry.of.id,
      title: shortened(entry.row, 32),
      x: step,
      y: loss,
      tip: [
        ["step", whole(step)],
        ["training loss", significant(loss)],
      ],
    })),
  );
  return curves(values, {
    width,
    x: { title: "step", axis: { grid: false, format: "~s", tickMinStep: 1 } },
    y: "training loss",
    points: false,
    height: 300,
  });
}

function learningTable(entries) {
  const target = entries.find((entry) => isNumber(entry.target))?.target;
  const reach = isNumber(target) ? `steps to ${percent(target)} % selection score` : "steps to the common score";
  const lines = entries.map((entry) => [
    [glyph(entry.of.method), " ", rowName(entry.of)],
    isNumber(entry.train_loss) ? significant(entry.train_loss) : ABSENT,
    isNumber(entry.steps_to_target) ? whole(Math.round(entry.steps_to_target)) : "not reached",
  ]);
  return simpleTable(["row", "last training loss", reach], lines);
}
