from __future__ import annotations

from trainers.packing.muster import Muster


def test_a_cohort_is_complete_when_all_of_it_are_there() -> None:
    muster = Muster()
    assert muster.complete()
    muster.arrive("one", 2)
    assert not muster.complete()
    muster.arrive("other", 1)
    assert not muster.complete()
    muster.arrive("one", 2)
    assert muster.complete()


def test_a_lane_that_does_not_come_is_not_waited_for_forever() -> None:
    muster = Muster(patience_seconds=0)
    muster.arrive("one", 3)
    assert muster.complete()
    muster.arrive("one", 3)
    assert muster.complete(), "one that comes late is not the first of a new cohort"
