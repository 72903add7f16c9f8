"""The page as a file: everything in it, nothing from elsewhere, and no document that gets out of its place."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import vl_convert

from orchestrator.leaderboard import page
from orchestrator.leaderboard.page import assembly, bundle
from orchestrator.leaderboard.page.assembly import LARGEST, SCRIPTS, STYLES
from orchestrator.leaderboard.page.embedding import embedded, fitted
from tests.orchestrator.leaderboard.page.documents import HOSTILE, document

STATIC = Path(assembly.__file__).parent / "static"


class Parts(HTMLParser):
    """What a browser finds in a page: its elements, and the texts of its scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.within = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.within = tag in ("script", "style")
        if self.within:
            self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.within = False

    def handle_data(self, data: str) -> None:
        if self.within:
            self.texts[-1] += data

    @property
    def policy(self) -> dict[str, list[str]]:
        content = next(str(a["content"]) for _, a in self.elements if a.get("http-equiv") == "Content-Security-Policy")
        return {words[0]: words[1:] for words in (part.split() for part in content.split(";"))}

    @property
    def document(self) -> Any:
        return json.loads(self.texts[[a.get("type") for t, a in self.elements if t in ("script", "style")].index("application/json")])


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    return document()


@pytest.fixture(scope="module")
def parts(content: dict[str, Any]) -> Parts:
    return Parts(page.html(content))


def test_the_page_holds_its_document_whatever_the_names_are(content: dict[str, Any], parts: Parts) -> None:
    assert parts.document == content
    assert {row["method"] for row in parts.document["rows"]} >= set(HOSTILE)


def test_names_add_no_element_to_the_page(parts: Parts) -> None:
    plain = Parts(page.html({}))
    assert [tag for tag, _ in parts.elements] == [tag for tag, _ in plain.elements]


def test_the_policy_lets_exactly_the_scripts_and_styles_of_the_page_run(parts: Parts) -> None:
    digests = [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in parts.texts]
    style, _, charts, script = digests
    assert parts.policy["script-src"] == [charts, script] and parts.policy["style-src"] == [style]
    assert parts.policy["default-src"] == parts.policy["connect-src"] == parts.policy["base-uri"] == ["'none'"]


def test_a_live_page_may_ask_its_own_server_only() -> None:
    parts = Parts(page.html({}, live=True))
    assert parts.policy["connect-src"] == ["'self'"] and ("html", {"lang": "en", "data-mode": "live"}) in parts.elements


def test_nothing_is_loaded_from_elsewhere(parts: Parts) -> None:
    sources = [value for _, attributes in parts.elements for name, value in attributes.items() if name in ("src", "href")]
    assert all(str(source).startswith(("#", "data:")) for source in sources), sources
    assert not re.search(r"@import|url\(", parts.texts[0])


def test_a_file_is_at_most_five_megabytes_even_of_a_huge_sweep(content: dict[str, Any]) -> None:
    huge = {**content, "analysis": {**content["analysis"], "families": content["analysis"]["families"] * 8}}
    text = page.html(huge)
    shown = Parts(text).document
    assert len(embedded(huge)) > LARGEST >= len(text.encode())
    assert [row["average"] for row in shown["rows"]] == pytest.approx([row["average"] for row in huge["rows"]], abs=1e-6)
    assert "left out of this file" in shown["analysis"]["notes"][-1]
    best = content["names"][0]
    assert all(best in (pair["a"], pair["b"]) for pair in shown["analysis"]["families"][0]["pairs"])


@pytest.mark.parametrize("size", [1_500_000, 600_000, 300_000])
def test_what_costs_a_reader_least_is_left_out_first(content: dict[str, Any], size: int) -> None:
    text = fitted(content, size)
    shown = json.loads(text)
    assert len(text) <= size and len(shown["rows"]) == len(content["rows"]) and shown["certificate"] == content["certificate"]
    kept = [name for name in ("fronts", "families", "grids", "sensitivities") if shown["analysis"][name]]
    assert kept == ["fronts", "families", "grids", "sensitivities"][: len(kept)]
    assert len(shown["analysis"]["notes"]) > len(content["analysis"]["notes"])


def test_digits_that_nobody_sees_go_first(content: dict[str, Any]) -> None:
    assert fitted(content, LARGEST) == embedded(content)
    shorter = json.loads(fitted(content, len(embedded(content)) - 1))
    assert shorter["analysis"]["notes"] == content["analysis"]["notes"]
    assert shorter["rows"][0]["average"] == pytest.approx(content["rows"][0]["average"], abs=1e-6)
    assert [len(part) for part in shorter["analysis"].values()] == [len(part) for part in content["analysis"].values()]


def test_numbers_that_json_does_not_have_are_shown_as_missing() -> None:
    text = embedded({"a": float("nan"), "b": [float("inf"), 0.5], "c": {"d": -float("inf")}})
    assert json.loads(text) == {"a": None, "b": [None, 0.5], "c": {"d": None}}


@pytest.mark.parametrize("text", ["</script><script>x", "<!--<script>", "\u2028\u2029", "\ud800", "\u202egnp", "&lt;", "🙂"])
def test_no_text_gets_out_of_the_script_element(text: str) -> None:
    written = embedded({text: [text]})
    assert json.loads(written) == {text: [text]}
    assert written.isascii() and not set(written) & set("<>&")


@pytest.mark.parametrize("bare", [{}, {"sweep": "empty", "rows": [], "certificate": {"ok": True, "rules": []}}])
def test_a_document_without_rows_makes_a_page(bare: dict[str, Any]) -> None:
    assert Parts(page.html(bare)).document == bare


def test_the_title_is_text() -> None:
    assert "<title>&lt;b&gt;x &amp; y · leaderboard</title>" in page.html({"sweep": "<b>x & y"})


def test_every_file_of_the_page_is_in_it() -> None:
    files = {path.name for path in STATIC.iterdir()}
    assert files == {*SCRIPTS, *STYLES, "template.html"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_read_no_text_as_markup_or_code(name: str) -> None:
    source = (STATIC / name).read_text(encoding="utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|new Function|setAttribute\(\"style", source)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", source)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAIRSWEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(vl_convert, "javascript_bundle", lambda snippet: "made()</script>")
    return tmp_path / "cache"


def made_anew() -> str:
    bundle.charting_bundle.cache_clear()
    try:
        return bundle.charting_bundle()
    finally:
        bundle.charting_bundle.cache_clear()


def test_the_charting_script_is_made_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert made_anew() == "made()<\\/script>"
    monkeypatch.setattr(vl_convert, "javascript_bundle", lambda snippet: pytest.fail("made again"))
    assert made_anew() == "made()<\\/script>"


def test_a_damaged_charting_script_is_made_anew(cache: Path) -> None:
    made_anew()
    (kept,) = cache.rglob("*.js")
    kept.write_text("alert(1)")
    assert made_anew() == "made()<\\/script>" and kept.read_text() == "made()<\\/script>"


def test_a_cache_that_cannot_be_written_costs_time_only(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache.write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        assert made_anew() == "made()<\\/script>"
    assert "move the cache by FAIRSWEEP_CACHE" in caplog.text


def test_no_two_scripts_declare_one_name() -> None:
    # They share one scope, where the later of two functions replaces the other without a word.
    declared = re.findall(r"^(?:async )?(?:function\*?|const|let|class) (\w+)", assembly.page_script(), re.MULTILINE)
    assert len(declared) > 100
    assert [name for name, count in Counter(declared).items() if count > 1] == []
