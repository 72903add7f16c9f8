"""Texts in LaTeX: what is printed is what was said."""

from __future__ import annotations

import pytest

from orchestrator.leaderboard.export.tex import breakable, clipped, escape, printed_letters


@pytest.mark.parametrize(
    ("text", "tex"),
    [
        ("50% of a_b & c#1", r"50\% of a\_b \& c\#1"),
        ("{x} \\y ~ ^", r"\{x\} \textbackslash{}y \~{} \^{}"),
        ("<a|b>", r"\textless{}a\textbar{}b\textgreater{}"),
        ("--out", "-{}-{}out"),
        ("[2pt] *", "{[}2pt{]} {*}"),
        ("5 $", r"5 \ensuremath{\mathdollar}"),
        ("é ñ ő ấ", r"{\'{e}} {\~{n}} {\H{o}} {\'{\^{a}}}"),
        ("α Ω λ ς \u03bf \u0391 ά", r"$\alpha$ $\Omega$ $\lambda$ $\varsigma$ o A $\alpha$"),
        ("± … – ×", r"$\pm$ \ldots{} -- $\times$"),
        ("ло 中 😀", "U+043BU+043E U+4E2D U+1F600"),
        ("a\nb\x1b[31m\u202ec\u200b", "a b {[}31m c"),
    ],
)
def test_a_text_is_printed_as_it_is(text: str, tex: str) -> None:
    assert escape(text) == tex


def test_what_comes_out_is_ascii_whatever_goes_in() -> None:
    assert all(escape(chr(code)).isascii() for code in (*range(0x3100), 0xFFFD, 0x1F600, 0x10FFFF) if not 0xD800 <= code < 0xE000)


def test_long_words_may_be_broken_and_short_ones_not() -> None:
    assert breakable("a short text") == "a short text"
    digest = breakable("0123456789abcdef" * 4)
    assert max(map(len, digest.split(r"\allowbreak{}"))) <= 9
    assert breakable("learning_rate=0.001") == r"learning\_\allowbreak{}rate=\allowbreak{}0.001"
    assert breakable(f"see {'x' * 30} there").replace(r"\allowbreak{}", "") == f"see {'x' * 30} there"


def test_a_clipped_text_prints_no_more_than_it_may() -> None:
    assert clipped("short", 5) == "short"
    assert clipped("longer", 5) == "long…"
    # A code point takes six letters.
    assert clipped("中文字", 13) == "中文…"


def test_a_cell_is_about_as_wide_as_its_letters() -> None:
    assert printed_letters(r"\textbf{87.5} & ") == pytest.approx(6, abs=1)
    assert printed_letters(r"\textsubscript{[83.1, 91.0]}") == pytest.approx(0.65 * 12)
