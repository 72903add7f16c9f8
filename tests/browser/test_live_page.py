"""The page as the MLflow server hands it out, in Chromium: the board of its runs, which keeps up with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from orchestrator.leaderboard.page import html
from orchestrator.report import PAGE
from orchestrator.tracking.delivery import Tracker
from orchestrator.tracking.records import RunReader
from tests.browser.small_sweep import LONE, SmallSweep, plan_of
from tests.services.browser import DESKTOP, PHONE, Watched
from tests.services.tracking_server import TrackingServer

pytestmark = pytest.mark.services
Opened = Callable[..., Any]
ROW = "#table-ranking tbody tr[data-row]"


@pytest.fixture
def opened(new_page: Callable[..., Watched], address: str) -> Iterator[Opened]:
    """Opens the page, and in the end looks whether it complained or asked anybody but its server."""
    watched: list[Watched] = []

    def open_(query: str = "?sweep=small", size: tuple[int, int] = DESKTOP, **options: Any) -> Any:
        found = new_page(size, **options)
        watched.append(found)
        found.page.goto(address + query)
        found.page.get_by_label("sweep").wait_for()
        found.page.locator(ROW).first.wait_for()
        return found.page

    yield open_
    for found in watched:
        assert found.complaints == []
        assert found.outside(address) == []


def rows(page: Any) -> list[str]:
    """The ranking as it is read, a text per row."""
    return [" ".join(text.split()) for text in page.locator(ROW).all_inner_texts()]


def names(page: Any) -> list[str]:
    return page.locator(f"{ROW} .opener").all_inner_texts()


def test_the_page_shows_the_board_of_the_server(opened: Opened, address: str) -> None:
    document = requests.get(f"{address}/document?sweep=small", timeout=120).json()
    page = opened()
    assert len(rows(page)) == len(document["rows"]) == 7
    shown = "\n".join(rows(page))
    for row in document["rows"]:
        assert row["average"] is None or f"{100 * row['average']:.1f}" in shown
    assert page.locator("h1").inner_text() == "small"


def test_the_file_shows_the_same_rows_as_the_server(opened: Opened, address: str, new_page: Callable[..., Watched], tmp_path: Any) -> None:
    live = rows(opened())
    document = requests.get(f"{address}/document?sweep=small", timeout=120).json()
    (tmp_path / "board.html").write_text(html(document), encoding="utf-8")
    file = new_page()
    file.page.goto((tmp_path / "board.html").as_uri())
    file.page.locator("#ranking").wait_for()
    assert rows(file.page) == live
    assert file.complaints == [] and [url for url in file.requests if not url.startswith(("file:", "data:"))] == []


def test_the_best_comes_first_and_a_header_sorts(opened: Opened) -> None:
    page = opened()
    best_first = names(page)
    page.locator("#sort-ranking-trainable").click()
    assert names(page) != best_first and names(page)[0] == "untuned model"
    page.locator("#sort-ranking-trainable").click()
    assert names(page)[-1] == "untuned model"
    page.locator("#sort-ranking-score").click()
    assert names(page) == best_first


def test_a_link_with_filters_shows_the_same_view_to_another_reader(opened: Opened) -> None:
    page = opened()
    page.locator("#filter-text").fill("lorta")
    page.get_by_role("search").get_by_label("task").select_option("copa")
    page.locator("#sort-ranking-trainable").click()
    assert {name.split()[0] for name in names(page)} == {"lorta", "untuned"}
    again = opened(page.url.partition("/leaderboard")[2])
    assert rows(again) == rows(page)


def test_another_sweep_is_a_choice_away(opened: Opened) -> None:
    page = opened("")
    assert page.get_by_label("sweep").locator("option").all_inner_texts()[:2] == ["small", "lone"]
    page.get_by_label("sweep").select_option("lone")
    page.wait_for_url("**/leaderboard?sweep=lone**")
    page.get_by_role("heading", name="lone").wait_for()
    assert len(rows(page)) == 2


def test_a_point_tells_its_row_and_leads_to_its_run_in_mlflow(
    new_page: Callable[..., Watched], address: str, server: TrackingServer
) -> None:
    watched = new_page()
    page = watched.page
    page.goto(f"{address}?sweep=small")
    page.locator("#fronts").scroll_into_view_if_needed()
    point = page.locator("#fronts .mark-symbol path[aria-roledescription='point']").first
    point.hover()
    page.get_by_role("tooltip").wait_for()
    assert "micro-llama" in page.get_by_role("tooltip").inner_text()
    point.click()
    assert watched.complaints == []
    page.get_by_role("dialog").locator(".runs a").first.click()
    page.wait_for_url(f"{server.uri}/#/experiments/**", wait_until="commit")
    mlflow = page.url
    run = mlflow.rpartition("/runs/")[2].partition("/")[0]
    answer = requests.get(f"{server.uri}/api/2.0/mlflow/runs/get", params={"run_id": run}, timeout=60)
    assert {"key": "fairsweep.sweep", "value": "small"} in answer.json()["run"]["data"]["tags"]


def test_failures_are_shown_as_text_whatever_they_say(opened: Opened) -> None:
    page = opened()
    failures = page.locator("#failures")
    assert "diverged" in failures.inner_text() and "out of memory" in failures.inner_text().replace("_", " ")
    assert "broken in" not in page.title() and page.locator("img").count() == 0
    shown = "\n".join(rows(page))
    assert "2/3" in shown or "5/6" in shown


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_readable_in_light_and_dark(opened: Opened, scheme: str) -> None:
    page = opened(color_scheme=scheme)
    ink, paper = page.evaluate("[getComputedStyle(document.body).color, getComputedStyle(document.documentElement).backgroundColor]")
    background = paper if paper != "rgba(0, 0, 0, 0)" else page.evaluate("getComputedStyle(document.body).backgroundColor")
    light, dark = sorted((luminance(ink), luminance(background)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 7
    assert (luminance(background) > 0.5) == (scheme == "light")


def test_a_phone_shows_it_without_scrolling_sideways(opened: Opened) -> None:
    page = opened(size=PHONE, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)") >= 13


def test_a_run_that_arrives_appears_by_itself(
    opened: Opened, server: TrackingServer, address: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sweep = SmallSweep(plan_of(LONE, "growing"), tmp_path_factory.mktemp("growing"))
    (report,) = sweep.reports("lora", "copa")
    with server.logged_in():
        sweep.deliver(server.uri, "running", of=lambda trial: trial != report, now=1.0)
        page = opened("?sweep=growing#task=copa")
        assert "running" in page.locator("#top").inner_text()
        page.locator("#filter-text").fill("lora")
        before = rows(page)
        sweep.deliver(server.uri, "finished", of=lambda trial: trial == report, now=2.0)
    page.wait_for_function(
        "before => document.querySelector('#table-ranking').innerText !== before", arg=page.locator("#table-ranking").inner_text()
    )
    assert rows(page) != before
    expected = 100 * sweep.outcomes[report.id].metrics["test/accuracy"]
    assert f"{expected:.1f}" in "\n".join(rows(page))
    # The reader's filters, and the place of the cursor, stay.
    assert page.locator("#filter-text").input_value() == "lora"
    assert page.evaluate("document.activeElement.id") == "filter-text"


def test_mlflow_shows_the_page_on_the_run_of_the_sweep(new_page: Callable[..., Watched], server: TrackingServer, address: str) -> None:
    document = requests.get(f"{address}/document?sweep=small", timeout=120).json()
    with server.logged_in():
        Tracker(server.uri, "small", document["digest"]).attach(PAGE, html(document))
        (run,) = RunReader(server.uri).sweep_runs("small")
    page = new_page().page
    page.goto(f"{server.uri}/#/experiments/{document['experiment_id']}/runs/{run.run_id}/artifacts")
    page.get_by_text(PAGE).first.click()
    shown = page.frame_locator("iframe").locator(ROW)
    shown.first.wait_for()
    assert shown.count() == len(document["rows"])
    # MLflow gives it no storage and no address of its own; it works all the same.
    shown.first.locator(".opener").click()
    page.frame_locator("iframe").locator(".detail").wait_for()


def test_a_server_that_goes_away_is_said_and_the_board_stays(new_page: Callable[..., Watched], address: str) -> None:
    watched = new_page()
    watched.page.goto(f"{address}?sweep=small")
    watched.page.locator(ROW).first.wait_for()
    watched.page.route("**/leaderboard/document*", lambda route: route.abort())
    # What makes a hidden page look again when it is shown.
    watched.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    watched.page.get_by_text("cannot be renewed").wait_for()
    assert len(rows(watched.page)) == 7


def test_a_sweep_that_is_not_there_is_said_with_what_is(new_page: Callable[..., Watched], address: str) -> None:
    watched = new_page()
    watched.page.goto(f"{address}?sweep=smal")
    assert "Did you mean 'small'?" in watched.page.locator("body").inner_text()


def test_it_works_below_a_prefix(new_page: Callable[..., Watched], tmp_path: Any) -> None:
    app = TrackingServer(f"sqlite:///{tmp_path}/mlflow.db", auth=False, app="fairsweep", prefix="/team/mlflow")
    with app, app.logged_in():
        SmallSweep(plan_of(LONE), tmp_path / "outcomes").deliver(app.uri)
        watched = new_page()
        watched.page.goto(f"{app.uri}/leaderboard")
        watched.page.locator(ROW).first.wait_for()
        assert len(rows(watched.page)) == 2
        watched.page.locator("#table-ranking .opener").first.click()
        watched.page.locator(".detail .runs a").first.click()
        watched.page.wait_for_url(f"{app.uri}/#/experiments/**", wait_until="commit")
        assert requests.get(f"{app.uri.removesuffix('/team/mlflow')}/leaderboard", timeout=60).status_code == 404


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2) of a colour as `rgb(r, g, b)`."""
    channels = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
