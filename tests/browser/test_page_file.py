"""The leaderboard as one file, opened from disk in Chromium."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from orchestrator.leaderboard.page import html
from tests.orchestrator.leaderboard.page.documents import HOSTILE, document
from tests.services.browser import DESKTOP, Watched

pytestmark = pytest.mark.services
Opened = Callable[..., Any]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Addresses of files: a large board, one whose certificate fails, and small ones."""
    folder = tmp_path_factory.mktemp("pages")
    empty = {"sweep": "empty", "rows": [], "certificate": {"ok": True, "rules": [], "missing": []}}
    lone = document(hostile=False)
    row = next(row for row in lone["rows"] if row["method"] == "full")
    row |= {"tasks": {"copa": row["tasks"]["copa"]}, "average_ci": None, "tie_letters": ""}
    one = {"sweep": "one", "tasks": {"copa": "accuracy"}, "rows": [row], "certificate": lone["certificate"]}
    pages = {"board": document(), "fails": document(failing=True), "empty": empty, "one": one, "nothing": {}}
    for name, content in pages.items():
        (folder / f"{name}.html").write_text(html(content), encoding="utf-8")
    return {name: (folder / f"{name}.html").as_uri() for name in pages}


@pytest.fixture
def opened(new_page: Callable[..., Watched], files: dict[str, str]) -> Iterator[Opened]:
    """Opens a file, and in the end looks whether the page complained or asked anybody for anything."""
    watched: list[Watched] = []

    def open_(name: str = "board", fragment: str = "", size: tuple[int, int] = DESKTOP, **options: Any) -> Any:
        found = new_page(size, **options)
        watched.append(found)
        found.page.goto(files[name] + fragment)
        found.page.locator("#ranking").wait_for()
        return found.page

    yield open_
    for found in watched:
        assert found.complaints == []
        assert [url for url in found.requests if not url.startswith(("file:", "data:"))] == []


def methods(page: Any) -> list[str]:
    """The rows of the ranking's first model, as they are read."""
    return page.locator("#table-ranking tbody").first.locator("tr[data-row] .opener").all_inner_texts()


def drawn(page: Any, section: str) -> Any:
    """The charts of a section, all drawn."""
    charts = page.locator(f"#{section} .chart")
    for number in range(charts.count()):
        charts.nth(number).scroll_into_view_if_needed()
        charts.nth(number).locator("svg").wait_for()
    return charts


def test_the_first_line_is_the_verdict(opened: Opened) -> None:
    page = opened()
    line = page.locator("#verdict p")
    assert "Certificate holds" in line.inner_text() and "8 of 8 rules hold" in line.inner_text()
    assert line.bounding_box()["y"] == 0 and line.bounding_box()["height"] < page.locator("h1").bounding_box()["y"]


def test_a_ranking_that_does_not_hold_says_so_before_anything_else(opened: Opened) -> None:
    page = opened("fails")
    banner = page.get_by_role("alert")
    assert "FAILS F3, F9" in banner.inner_text() and "identical data" in banner.inner_text()
    assert banner.bounding_box()["y"] == 0
    assert "grayscale" in page.locator("#table-ranking").evaluate("node => getComputedStyle(node).filter")
    assert "digest of train is 00ff" in page.locator("#rule-F3 + .deviations").inner_text()
    assert page.locator(".findings").inner_text() == ""


def test_the_table_sorts_by_click_and_by_keyboard(opened: Opened) -> None:
    page = opened()
    best_first = methods(page)
    header = page.get_by_role("columnheader", name="parameters").first
    header.get_by_role("button").click()
    smallest_first = methods(page)
    assert header.get_attribute("aria-sort") == "ascending" and smallest_first[0] == "untuned model" and smallest_first != best_first
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "descending" and methods(page) == smallest_first[::-1]


def test_filters_keep_the_ranks_of_the_whole_board(opened: Opened) -> None:
    page = opened()
    page.get_by_role("searchbox").fill("lorta")
    assert [text.split()[0] for text in methods(page)] == ["lorta", "lorta", "lorta", "untuned"]
    assert page.evaluate("document.activeElement.id") == "filter-text"
    page.get_by_role("search").get_by_label("model", exact=True).select_option("opt-1.3b")
    page.get_by_role("search").get_by_label("parameters", exact=True).select_option(index=1)
    shown = page.locator("#ranking").inner_text()
    assert "of 77 rows; ranks, letters and intervals are those of the whole board" in shown and "llama2-7b" not in shown
    page.get_by_role("button", name="clear").click()
    assert len(methods(page)) > 30


def test_a_task_alone_is_shown_with_its_own_scores(opened: Opened) -> None:
    page = opened(fragment="#task=squad")
    headers = page.locator("#table-ranking thead th").all_inner_texts()
    assert any("squad f1" in header for header in headers) and not any("copa" in header for header in headers)


def test_a_link_shows_the_same_view(opened: Opened, files: dict[str, str]) -> None:
    page = opened()
    page.get_by_role("search").get_by_label("task", exact=True).select_option("copa")
    page.get_by_role("searchbox").fill("dora")
    page.locator("#sort-ranking-trainable").click()
    page.get_by_label("cost", exact=True).select_option("peak_bytes")
    page.locator(".opener").first.click()
    page.locator("#theme").click()
    link, shown = page.url, page.locator("#ranking").inner_text()
    again = opened(fragment=link.removeprefix(files["board"]))
    assert again.locator("#ranking").inner_text() == shown and again.locator(".detail").count() == 1
    assert again.get_by_label("cost", exact=True).input_value() == "peak_bytes"
    assert again.locator("html").get_attribute("data-theme") == "light"


def test_a_point_tells_its_row_on_hover_and_its_runs_on_click(opened: Opened) -> None:
    page = opened(fragment="#model=llama2-7b")
    drawn(page, "fronts")
    point = page.locator("#fronts .mark-symbol path[aria-roledescription='point']").first
    point.hover()
    tooltip = page.get_by_role("tooltip")
    tooltip.wait_for()
    assert "score" in tooltip.inner_text() and "llama2-7b" in tooltip.inner_text()
    point.click()
    card = page.get_by_role("dialog")
    assert "15 report runs" in card.inner_text() and card.locator(".runs code").count() == 15 and card.locator(".runs a").count() == 0
    page.keyboard.press("Escape")
    assert not card.is_visible()


def test_the_grid_marks_the_selected_point_and_the_edge(opened: Opened) -> None:
    page = opened(fragment="#method=melora")
    texts = drawn(page, "grids").locator("text").all_text_contents()
    assert "learning_rate" in texts and "scale" in texts
    # Three axes: a panel for each size and value of the third.
    assert page.locator("#grids .panel").count() == 6
    frames = page.locator("#grids path[stroke-width='2.4']")
    assert frames.count() == 3


def test_every_chart_is_drawn_and_none_is_empty(opened: Opened) -> None:
    page = opened(fragment="#rows=all")
    for section in ("fronts", "ladders", "tuning", "grids", "axes", "sizes", "learning"):
        charts = drawn(page, section)
        assert charts.count() >= 1, section
        assert all(charts.nth(n).locator("path").count() > 3 for n in range(charts.count())), section


def test_hostile_names_are_read_as_what_they_are(opened: Opened) -> None:
    page = opened()
    shown = " ".join(methods(page))
    assert "<script>alert('x')</script>" in shown and "⟨U+202E⟩gnp.exe" in shown and "\u202e" not in page.locator("body").inner_text()
    assert HOSTILE[2] not in page.locator("body").inner_text()
    assert page.locator(f"bdi[title='{HOSTILE[2]}']").count() > 0
    assert page.locator("main img, main script, main iframe").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_colours_follow_the_system_until_they_are_chosen(opened: Opened, scheme: str) -> None:
    page = opened(color_scheme=scheme)
    dark = "parseInt(getComputedStyle(document.body).color.match(/[0-9]+/)[0]) > 128"  # light letters
    assert page.evaluate(dark) == (scheme == "dark")
    page.locator("#theme").click()
    assert not page.evaluate(dark)
    page.locator("#theme").click()
    assert page.evaluate(dark)


@pytest.mark.parametrize("name", ["board", "fails", "one"])
def test_nothing_overflows_a_phone(opened: Opened, name: str) -> None:
    page = opened(name, size=(360, 780))
    for section in ("fronts", "ladders", "grids", "sizes"):
        drawn(page, section)
    page.locator(".opener").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    box = page.locator("#scroll-ranking")
    box.evaluate("node => node.scrollTo(200, 0)")
    assert page.locator(".opener").first.bounding_box()["x"] < 40


def test_on_paper_it_is_light_and_open(opened: Opened) -> None:
    page = opened(fragment="#theme=dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("#certificate details:not([open])").count() == 0 and not page.locator("#filters").is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("#certificate details[open]").count() == 0 and "open=" not in page.url


def test_the_keyboard_reaches_the_ranking_first(opened: Opened) -> None:
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the ranking"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "ranking"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("empty", "No row yet"),
        ("nothing", "No certificate"),
        ("one", "No pair was tested"),
        ("one", "There is no curve of score against size".lower()),
    ],
)
def test_what_is_missing_is_said(opened: Opened, name: str, words: str) -> None:
    assert words.lower() in opened(name).locator("body").inner_text().lower()


def test_failures_and_published_results_stand_apart(opened: Opened) -> None:
    page = opened()
    assert "diverged" in page.locator("#failures").inner_text() and "out of memory" in page.locator("#failures").inner_text()
    published = page.locator("#published").inner_text()
    assert "Published, not run here" in published and "<img src=x onerror=alert(1)>" in published
    assert "lora-rank32" not in page.locator("#ranking").inner_text()
    assert "4/5" in page.locator("#ranking").inner_text()


def test_it_works_inside_a_frame_that_shares_nothing_with_it(new_page: Callable[..., Watched]) -> None:
    watched = new_page()
    watched.page.set_content("<iframe sandbox='allow-scripts' width='1200' height='800'></iframe>")
    watched.page.locator("iframe").evaluate("(node, text) => { node.srcdoc = text; }", html(document()))
    frame = watched.page.frame_locator("iframe")
    frame.locator("#sort-ranking-trainable").click()
    assert frame.locator(".opener").first.inner_text() == "untuned model"
    frame.locator("#fronts svg").first.wait_for()
    assert watched.complaints == []
