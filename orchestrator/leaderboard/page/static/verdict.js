// The verdict of the certificate: the first line of the page.

function verdictOf(certificate) {
  const failing = certificate.rules.filter((rule) => !rule.ok);
  const holding = certificate.rules.length - failing.length;
  const missing = certificate.missing?.length ?? 0;
  if (failing.length) return { state: "fails", failing, holding, missing };
  return { state: missing ? "incomplete" : certificate.rules.length ? "holds" : "absent", failing, holding, missing };
}

const VERDICTS = {
  holds: ["✓", "Certificate holds"],
  incomplete: ["◌", "Certificate incomplete"],
  absent: ["◌", "No certificate"],
  fails: ["✕", "Certificate FAILS"],
};

/** Return the line; one of a failing certificate is a banner that names the rules. */
function verdictLine(board) {
  const { state, failing, holding, missing } = verdictOf(board.certificate);
  const [sign, words] = VERDICTS[state];
  const total = board.certificate.rules.length;
  const line = [
    element("span", { class: "sign", "aria-hidden": "true" }, sign),
    element("strong", {}, words, failing.length ? ` ${failing.map((rule) => rule.id).join(", ")}` : ""),
    element("span", {}, total ? `${holding} of ${total} rules hold` : "there is nothing to judge yet"),
    missing ? element("span", {}, `${plural(missing, "planned trial")} ${missing === 1 ? "has" : "have"} not run`) : null,
    element("a", { href: "#certificate" }, "the certificate"),
  ];
  if (state !== "fails") return element("p", { class: `verdict ${state}` }, line);
  const rules = failing.map((rule) => element("li", {}, element("b", {}, rule.id), " ", visible(rule.title)));
  return element(
    "div",
    { class: "verdict fails", role: "alert" },
    element("p", {}, line),
    paragraph("The rows below were not compared fairly: the ranking does not hold. What is broken:"),
    element("ul", {}, rules),
  );
}

/** Return what the ranking says in words, per model. */
function findings(board) {
  if (verdictOf(board.certificate).state === "fails") return [];
  return shownModels(board).flatMap((model) => {
    const rows = board.rows.filter((row) => row.model === model && isNumber(row.rank));
    const best = rows.find((row) => row.rank === 1);
    if (!best || rows.length < 2) return [];
    const tied = rows.filter(
      (row) => row !== best && [...(row.tie_letters ?? "")].some((letter) => (best.tie_letters ?? "").includes(letter)),
    );
    const among = best.tie_letters
      ? tied.length
        ? `; ${plural(tied.length, "other row")} cannot be told from it`
        : "; no other row shares its letter"
      : "; no row was tested against another";
    const ci = interval(best.average_ci);
    return [
      paragraph(
        "On ",
        nameElement(model),
        ", ",
        rowName(best),
        ` ranks first of ${rows.length} with ${percent(best.average)} %`,
        ci && ` ${ci}`,
        among,
        ".",
      ),
    ];
  });
}
