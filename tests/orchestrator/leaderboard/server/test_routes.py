"""What the routes answer, on a real store."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from mlflow import MlflowClient

from orchestrator.leaderboard.board import board_of

Deliver = Callable[..., str]


def test_the_document_is_the_board_with_what_is_known_of_the_run(web: FlaskClient, deliver: Deliver, sweep: Any) -> None:
    experiment = deliver(sweep)
    answer = web.get("/leaderboard/document?sweep=small")
    assert answer.status_code == 200 and answer.mimetype == "application/json"
    found = answer.json
    assert (found["sweep"], found["experiment_id"], found["running"], found["stale"]) == ("small", experiment, False, False)
    assert [row["method"] for row in found["rows"]] and found["certificate"]["rules"] and "analysis" in found
    assert board_of(sweep.recorded()).to_json()["rows"][0]["average"] == found["rows"][0]["average"]
    assert answer.headers["ETag"] == f'"{found["state"]}"'


def test_a_document_that_the_browser_has_is_not_sent_again(web: FlaskClient, deliver: Deliver, sweep: Any) -> None:
    *first, last = sweep.trials
    deliver(sweep, "running", trials=first)
    answer = web.get("/leaderboard/document?sweep=small")
    tag = answer.headers["ETag"]
    assert not tag.startswith("W/") and answer.json["running"] is True
    again = web.get("/leaderboard/document?sweep=small", headers={"If-None-Match": tag})
    assert again.status_code == 304 and not again.data
    deliver(sweep, "running", trials=[last], now=2.0)
    changed = web.get("/leaderboard/document?sweep=small", headers={"If-None-Match": tag})
    assert changed.status_code == 200 and changed.json["state"] != answer.json["state"]
    assert changed.json["certificate"]["missing"] == []
    deliver(sweep, "finished", trials=[], now=3.0)
    ended = web.get("/leaderboard/document?sweep=small", headers={"If-None-Match": changed.headers["ETag"]})
    assert ended.status_code == 200 and ended.json["running"] is False


def test_without_a_name_it_is_the_sweep_that_ran_last(web: FlaskClient, deliver: Deliver, sweep: Any, other: Any) -> None:
    deliver(sweep, now=10.0)
    deliver(other, now=20.0)
    assert [found["name"] for found in web.get("/leaderboard/sweeps").json["sweeps"]] == ["other", "small"]
    assert web.get("/leaderboard/document").json["sweep"] == "other"
    deliver(sweep, now=30.0, trials=[])
    assert web.get("/leaderboard/document").json["sweep"] == "small"


def test_a_sweep_that_may_not_be_read_is_like_none(web: FlaskClient, deliver: Deliver, sweep: Any, other: Any, access: Any) -> None:
    access.allowed = {deliver(sweep, now=10.0)}
    deliver(other, now=20.0)
    assert web.get("/leaderboard/document").json["sweep"] == "small"
    for path in ("/leaderboard/document", "/leaderboard"):
        hidden, absent = (web.get(f"{path}?sweep={name}") for name in ("other", "ether"))
        assert hidden.status_code == absent.status_code == 404
        assert hidden.text.replace("other", "ether") == absent.text
    access.allowed = set()
    assert web.get("/leaderboard/sweeps").json == {"sweeps": []}
    assert web.get("/leaderboard/document").status_code == 404 and "small" not in web.get("/leaderboard/document").text
    page = web.get("/leaderboard")
    assert page.status_code == 200 and "No sweep yet" in page.text and "small" not in page.text


def test_every_answer_is_guarded_and_nothing_can_be_written(web: FlaskClient, deliver: Deliver, sweep: Any) -> None:
    deliver(sweep)
    for path in ("", "?sweep=no", "/document", "/document?sweep=no", "/sweeps"):
        answer = web.get(f"/leaderboard{path}")
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'") and "frame-ancestors 'self'" in policy and "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff" and answer.headers["Cache-Control"] == "private, no-cache"
        for method in (web.post, web.put, web.patch, web.delete, web.options):
            assert method(f"/leaderboard{path}").status_code == 405


def test_the_page_is_sent_once(web: FlaskClient, deliver: Deliver, sweep: Any) -> None:
    deliver(sweep)
    answer = web.get("/leaderboard?sweep=small")
    assert answer.status_code == 200 and answer.mimetype == "text/html" and '"sweep":"small"' in answer.text
    assert web.get("/leaderboard?sweep=small", headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304


def test_a_board_that_takes_long_comes_later(web_of: Callable[..., FlaskClient], uri: str, deliver: Deliver, sweep: Any) -> None:
    deliver(sweep)
    web = web_of(uri, first_seconds=0)
    answer = web.get("/leaderboard/document?sweep=small")
    assert answer.status_code == 202 and "being computed" in answer.json["pending"] and int(answer.headers["Retry-After"]) > 0
    page = web.get("/leaderboard?sweep=small")
    assert page.status_code == 200 and ("It appears here by itself." in page.text or '"rows":[{' in page.text)
    while web.get("/leaderboard/document?sweep=small").status_code == 202:
        time.sleep(0.05)
    assert web.get("/leaderboard/document?sweep=small").json["rows"]


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "x" * 10_000, "\u202egpj.exe", "../../etc/passwd"]
)
def test_hostile_names_are_shown_as_text(web: FlaskClient, deliver: Deliver, sweep: Any, name: str) -> None:
    deliver(sweep)
    page, document = (web.get(f"/leaderboard{path}", query_string={"sweep": name}) for path in ("", "/document"))
    assert page.status_code == document.status_code == 404
    assert "<script" not in page.text and "<img" not in page.text and len(page.text) < 2000
    assert document.mimetype == "application/json" and "unknown sweep" in document.json["error"]


def test_an_empty_store_is_no_error(web: FlaskClient) -> None:
    assert web.get("/leaderboard/sweeps").json == {"sweeps": []}
    assert web.get("/leaderboard").status_code == 200 and "fairsweep run" in web.get("/leaderboard").text
    answer = web.get("/leaderboard/document")
    assert answer.status_code == 404 and answer.json["error"]


def test_an_experiment_without_a_plan_is_listed_and_says_what_is_missing(web: FlaskClient, uri: str, tmp_path: Path) -> None:
    MlflowClient(uri).create_experiment("fairsweep/by-hand", str(tmp_path))
    assert [found["name"] for found in web.get("/leaderboard/sweeps").json["sweeps"]] == ["by-hand"]
    answer = web.get("/leaderboard/document?sweep=by-hand")
    assert answer.status_code == 409 and "no plan" in answer.json["error"]
    assert str(tmp_path) not in answer.text


def test_a_store_that_goes_away_is_an_error_without_its_address(web: FlaskClient, uri: str, deliver: Deliver, sweep: Any) -> None:
    deliver(sweep)
    assert web.get("/leaderboard/sweeps").status_code == 200
    file = Path(uri.removeprefix("sqlite:///"))
    file.write_bytes(b"no database" * 1000)
    for path in ("", "/document", "/document?sweep=small", "/sweeps"):
        answer = web.get(f"/leaderboard{path}")
        assert answer.status_code == 503 and "does not answer" in answer.text and int(answer.headers["Retry-After"]) > 0
        assert str(file) not in answer.text


def test_a_server_of_artifacts_alone_says_so(web_of: Callable[[str], FlaskClient]) -> None:
    answer = web_of("").get("/leaderboard/sweeps")
    assert answer.status_code == 409 and "only artifacts" in answer.json["error"]
