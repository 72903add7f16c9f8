"""Records are kept while they say the same."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.tracking.run_cache import RunCache
from orchestrator.tracking.run_record import RunRecord


def record(run_id: str, **tags: str) -> RunRecord:
    return RunRecord(run_id, f"trial of {run_id}", tags, {}, {"f1": 0.5}, "FINISHED", 1.0, 2.0)


def twice(cache: RunCache, experiment: str, *records: RunRecord) -> list[RunRecord]:
    """What the second look gives, from which on records are kept."""
    cache.renewed(experiment, records)
    return cache.renewed(experiment, records)


def test_a_record_that_says_the_same_is_the_same_object() -> None:
    cache = RunCache()
    first = twice(cache, "e", record("a"), record("b"))
    again = cache.renewed("e", [record("b"), record("a")])
    assert [found.run_id for found in again] == ["b", "a"]
    assert again[0] is first[1] and again[1] is first[0]


def test_an_edited_run_is_another_one_and_a_deleted_one_is_gone() -> None:
    cache = RunCache()
    first, _ = twice(cache, "e", record("a"), record("b"))
    edited = replace(record("a"), metrics={"f1": 0.6})
    assert cache.renewed("e", [edited]) == [edited]
    restored, other = cache.renewed("e", [record("a"), record("b", phase="report")])
    assert restored == first and other.tags == {"phase": "report"}


def test_a_first_look_keeps_nothing() -> None:
    cache = RunCache()
    assert cache.renewed("e", [record("a")])[0] is not cache.renewed("e", [record("a")])[0]


def test_experiments_do_not_mix() -> None:
    cache = RunCache()
    (first,), (other,) = twice(cache, "e", record("a")), twice(cache, "f", record("a"))
    assert other is not first and cache.renewed("e", [record("a")])[0] is first


def test_no_more_runs_than_allowed_are_kept() -> None:
    cache = RunCache(most=3)
    old, _ = twice(cache, "e", record("a"), record("b"))
    new, _ = twice(cache, "f", record("a"), record("b"))
    assert cache.renewed("f", [record("a")])[0] is new
    assert cache.renewed("e", [record("a")])[0] is not old
    large = twice(cache, "g", *(record(str(number)) for number in range(5)))
    assert len(large) == 5 and cache.renewed("g", [record("1")])[0] is not large[1]
