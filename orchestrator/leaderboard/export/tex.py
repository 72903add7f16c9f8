r"""Texts as LaTeX shows them. Pure ASCII comes out, so that a table compiles in any document, whatever its input and font encodings.

pdfLaTeX's standard fonts hold Latin letters, accents and Greek. What they lack (other scripts, emoji) is written as its code point,
such as U+4E2D: readable, unambiguous, and never an error or a gap.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from functools import cache
from itertools import accumulate

from orchestrator.leaderboard.export.glyphs import ELLIPSIS, glyph

_LONG, _SIGN, _ENDLESS = re.compile(r"\S{11,}"), re.compile(r"[=/_,;:](?=\S)"), re.compile(r"[^\s\0]{19,}")
_PIECE = 9
"""Characters after which a long word may be broken."""
_SCRIPT = 0.65
"""Width of a raised or lowered letter."""


def escape(text: str) -> str:
    """Return a text as LaTeX that prints it in one line, in any document."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return "".join(glyph(c) for c in unicodedata.normalize("NFC", line)).strip()


def breakable(text: str) -> str:
    """Return a text like `escape`, that may be broken inside long words: after their signs, and anywhere in digests and the like."""
    pieces = _LONG.sub(lambda word: _SIGN.sub(r"\g<0>\0", word[0]), text.replace("\0", " "))
    pieces = _ENDLESS.sub(lambda word: "\0".join(re.findall(rf".{{1,{_PIECE}}}", word[0])), pieces)
    return r"\allowbreak{}".join(escape_part(part) for part in pieces.split("\0"))


def escape_part(text: str) -> str:
    """Return a text like `escape`, with the space around it."""
    lead, tail = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
    return f"{' ' if lead else ''}{escape(text)}{' ' if tail and text.strip() else ''}"


def clipped(text: str, length: int) -> str:
    """Return a text that prints as at most so many letters; where some are left out, it ends in an ellipsis."""
    ends = list(accumulate(map(_letters, text)))
    if not ends or ends[-1] <= length:
        return text
    return text[: bisect_right(ends, length - 1)] + ELLIPSIS


def printed_letters(tex: str) -> float:
    """Return roughly how wide LaTeX prints a cell, in letters."""
    small = sum(len(_bare(found)) for found in re.findall(r"\\text(?:sub|super)script\{([^{}]*)\}", tex))
    return len(_bare(tex)) - (1 - _SCRIPT) * small


def _bare(tex: str) -> str:
    return re.sub(r"\\[A-Za-z]+|[\\{}$&]", "", tex)


@cache
def _letters(character: str) -> int:
    shown = glyph(character)
    return len(shown) if shown.startswith("U+") else 1
