"""Cores that this process may use, on files as the kernel writes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cluster.cores import CoreUse, usable_cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system keeps no list of cores for a process")
def test_cores_that_are_kept_from_this_process_do_not_count() -> None:
    allowed = os.sched_getaffinity(0)
    assert usable_cores(()) == len(allowed)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert usable_cores(()) == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(("content", "cores"), [("max 100000\n", None), ("100000 100000\n", 1), ("50000 100000\n", 1), ("nonsense", None)])
def test_the_share_of_a_container_limits_them(tmp_path: Path, content: str, cores: int | None) -> None:
    (tmp_path / "cpu.max").write_text(content)
    assert usable_cores([(str(tmp_path / "cpu.max"), "")]) == (cores or usable_cores(()))


def test_the_share_of_an_older_container_stands_in_two_files(tmp_path: Path) -> None:
    quota, period = tmp_path / "quota", tmp_path / "period"
    period.write_text("100000\n")
    for text, cores in (("100000\n", 1), ("-1\n", usable_cores(()))):
        quota.write_text(text)
        assert usable_cores([(str(quota), str(period)), ("/not/there", "")]) == cores


@pytest.mark.parametrize(
    ("use", "oversubscribed", "idle", "better"),
    [
        (CoreUse(8, 8, 1), False, False, 1),
        (CoreUse(8, 2, 3), False, True, 4),
        (CoreUse(9, 4, 2), False, False, 2),
        (CoreUse(2, 8, 1), True, False, 1),
        (CoreUse(64, 1, 1), False, True, 64),
    ],
)
def test_threads_against_cores(use: CoreUse, oversubscribed: bool, idle: bool, better: int) -> None:
    assert (use.oversubscribed, use.idle, use.better) == (oversubscribed, idle, better)
