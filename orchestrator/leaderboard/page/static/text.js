// What is shown of texts and numbers. Names come from sweep files and tracking servers: none is markup, and none may pass for another.

const UNSEEN =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/gu;
const ABSENT = "–";

/** Return a text whose control characters and direction marks can be seen. */
function visible(text) {
  return String(text).replace(UNSEEN, (c) => `⟨U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}

/** Return a text of several lines, everything else that cannot be seen shown. */
function visibleLines(text) {
  return String(text).split(/\r?\n/).map(visible).join("\n");
}

/** Return a visible text of at most `limit` characters. */
function shortened(text, limit = 44) {
  const characters = Array.from(visible(text));
  return characters.length > limit ? `${characters.slice(0, limit - 1).join("")}…` : characters.join("");
}

/** Return texts of about `limit` characters, no two of them alike, so that each can stand for its line of a chart. */
function shortenedApart(texts, limit) {
  const seen = new Map();
  return texts.map((text) => {
    const words = shortened(text, limit);
    seen.set(words, (seen.get(words) ?? 0) + 1);
    return seen.get(words) === 1 ? words : `${words} (${seen.get(words)})`;
  });
}

function percent(fraction, digits = 1) {
  return isNumber(fraction) ? (100 * fraction).toFixed(digits).replace("-", "−") : ABSENT;
}

/** Return a difference of scores in points, with its sign. */
function points(difference) {
  const rounded = percent(difference).replace(/^−(0\.0)$/, "$1");
  return difference > 0 && rounded !== "0.0" ? `+${rounded}` : rounded;
}

function interval(ci, format = percent) {
  return ci ? `[${format(ci[0])}, ${format(ci[1])}]` : "";
}

const WHOLE = new Intl.NumberFormat("en");
const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

function whole(number) {
  return isNumber(number) ? WHOLE.format(number) : ABSENT;
}

function compact(number) {
  return isNumber(number) ? COMPACT.format(number) : ABSENT;
}

function significant(number) {
  return isNumber(number) ? String(Number(number.toPrecision(3))).replace("-", "−") : ABSENT;
}

function bytes(number) {
  if (!isNumber(number)) return ABSENT;
  const power = Math.min(4, Math.max(0, Math.floor(Math.log10(Math.max(number, 1)) / 3)));
  return `${significant(number / 1000 ** power)} ${["B", "kB", "MB", "GB", "TB"][power]}`;
}

function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

function plural(number, noun) {
  return `${whole(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** Return a value of a grid point or a capacity. */
function setting(value) {
  return isNumber(value) ? String(Number(value.toPrecision(6))) : value === null ? "none" : shortened(value);
}

function settings(point) {
  return Object.entries(point ?? {})
    .map(([key, value]) => `${shortened(key)}=${setting(value)}`)
    .join(", ");
}
