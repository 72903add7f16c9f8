// How to read the page.

const READING = [
  [
    "Score",
    "The task's main metric in per cent, mean over the report seeds; the average is over all tasks, and a row that lacks one has none. Test data were read once per report run, after the grid point had been selected on other data.",
  ],
  [
    "Interval",
    "95 %, for other seeds and other test examples, given the selected point. Seeds and examples are crossed: every seed was scored on the same examples. Below three seeds none is shown; that of the untuned model is over examples alone.",
  ],
  [
    "Ties",
    "Rows of a model that share a letter cannot be told apart. A row may have several letters: a may tie with b, and b with c, though a and c differ.",
  ],
  ["Rank 3, 2–6", "Third by its score; the comparisons leave places two to six open."],
  [
    "4/5",
    "Four of five report runs finished. A diverged run counts as the untuned model; after any other failure the row is incomplete and not ranked.",
  ],
  ["Untuned model", "The model without training, on the same data: the dashed line."],
  [
    "Verdicts",
    "Better or worse: p is at most 0.05 over the whole family; the simultaneous interval, which is wider, may then still hold zero. Non-inferior: else, where the interval lies above minus the margin. Inconclusive: neither could be shown.",
  ],
  ["Certificate", "The fairness rules, derived again from the recorded runs alone. Where one fails, the ranking does not hold."],
];

function readingSection() {
  return [
    element(
      "dl",
      { class: "reading" },
      READING.map(([term, words]) => element("div", {}, element("dt", {}, term), element("dd", {}, words))),
    ),
  ];
}
