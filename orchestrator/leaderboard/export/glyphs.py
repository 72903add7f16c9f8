"""Single characters as LaTeX prints them with its standard fonts, none of which is a bitmap."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from functools import cache

ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"

_ASCII: Mapping[str, str] = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    # The text command takes a font that many installations hold as a bitmap only.
    "$": r"\ensuremath{\mathdollar}",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\^{}",
    "~": r"\~{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "`": "{`}",
    # After the end of a table's row, these would be its arguments.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    # Two of them would be a dash.
    "-": "-{}",
}
_SIGNS: Mapping[str, str] = {
    "\N{NO-BREAK SPACE}": "~",
    "\N{EN DASH}": "--",
    "\N{EM DASH}": "---",
    "\N{MINUS SIGN}": "$-$",
    "\N{LEFT SINGLE QUOTATION MARK}": "{`}",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{LEFT DOUBLE QUOTATION MARK}": "``",
    "\N{RIGHT DOUBLE QUOTATION MARK}": "''",
    ELLIPSIS: r"\ldots{}",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
    "\N{MIDDLE DOT}": r"$\cdot$",
    "\N{DEGREE SIGN}": r"$^\circ$",
    "\N{SUPERSCRIPT TWO}": "$^2$",
    "\N{SUPERSCRIPT THREE}": "$^3$",
    "\N{MICRO SIGN}": r"$\mu$",
    "\N{LESS-THAN OR EQUAL TO}": r"$\le$",
    "\N{GREATER-THAN OR EQUAL TO}": r"$\ge$",
    "\N{NOT EQUAL TO}": r"$\ne$",
    "\N{ALMOST EQUAL TO}": r"$\approx$",
    "\N{RIGHTWARDS ARROW}": r"$\to$",
    "\N{INFINITY}": r"$\infty$",
    "\N{SECTION SIGN}": r"\ensuremath{\mathsection}",
    "\N{LATIN SMALL LETTER SHARP S}": r"\ss{}",
    "\N{LATIN SMALL LETTER AE}": r"\ae{}",
    "\N{LATIN CAPITAL LETTER AE}": r"\AE{}",
    "\N{LATIN SMALL LIGATURE OE}": r"\oe{}",
    "\N{LATIN CAPITAL LIGATURE OE}": r"\OE{}",
    "\N{LATIN SMALL LETTER O WITH STROKE}": r"\o{}",
    "\N{LATIN CAPITAL LETTER O WITH STROKE}": r"\O{}",
    "\N{LATIN SMALL LETTER L WITH STROKE}": r"\l{}",
    "\N{LATIN CAPITAL LETTER L WITH STROKE}": r"\L{}",
    "\N{LATIN SMALL LETTER DOTLESS I}": r"\i{}",
    "\N{GREEK SMALL LETTER FINAL SIGMA}": r"$\varsigma$",
}
_ACCENTS: Mapping[str, str] = {
    "\N{COMBINING GRAVE ACCENT}": "`",
    "\N{COMBINING ACUTE ACCENT}": "'",
    "\N{COMBINING CIRCUMFLEX ACCENT}": "^",
    "\N{COMBINING TILDE}": "~",
    "\N{COMBINING DIAERESIS}": '"',
    "\N{COMBINING MACRON}": "=",
    "\N{COMBINING BREVE}": "u",
    "\N{COMBINING DOT ABOVE}": ".",
    "\N{COMBINING RING ABOVE}": "r",
    "\N{COMBINING DOUBLE ACUTE ACCENT}": "H",
    "\N{COMBINING CARON}": "v",
    "\N{COMBINING CEDILLA}": "c",
    "\N{COMBINING DOT BELOW}": "d",
    "\N{COMBINING MACRON BELOW}": "b",
}
_LIKE_LATIN = dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧο", "ABEZHIKMNOPTYXo", strict=True))  # noqa: RUF001  Greek letters that look Latin


@cache
def glyph(character: str) -> str:
    """Return one printable character as LaTeX; one that its fonts lack as its code point."""
    if character.isascii():
        return _ASCII.get(character, character)
    if character in _SIGNS:
        return _SIGNS[character]
    base, *marks = list(unicodedata.normalize("NFD", character))
    if base.isascii() and base.isalpha() and marks and all(mark in _ACCENTS for mark in marks):
        return _accented(base, marks)
    # An accent on a Greek letter is left out: LaTeX has none without a font of Greek.
    greek = _greek(base)
    return greek if greek and all(unicodedata.combining(mark) for mark in marks) else f"U+{ord(character):04X}"


def _accented(base: str, marks: list[str]) -> str:
    for mark in marks:
        base = rf"\{_ACCENTS[mark]}{{{base}}}"
    return f"{{{base}}}"


def _greek(letter: str) -> str:
    if letter in _LIKE_LATIN:
        return _LIKE_LATIN[letter]
    name = unicodedata.name(letter, "")
    kind, _, last = name.partition(" LETTER ")
    if kind not in ("GREEK SMALL", "GREEK CAPITAL") or last not in _GREEK:
        return ""
    return rf"$\{_GREEK[last].capitalize() if kind == 'GREEK CAPITAL' else _GREEK[last]}$"


_NAMES = "alpha beta gamma delta epsilon zeta eta theta iota kappa mu nu xi pi rho sigma tau upsilon phi chi psi omega"
_GREEK = {name.upper(): name for name in _NAMES.split()} | {"LAMDA": "lambda"}
"""Unicode's names of the letters -> LaTeX's commands."""
