"""Chains: trials that a group is handed at one time, to run them one after another without a pause.

Each begins the moment that the one before has computed: its files are written, its Outcome published and taken back meanwhile.
"""

from __future__ import annotations

import itertools
from collections.abc import Container

from orchestrator.sweep.course import Course
from orchestrator.sweep.widths import Widths
from search_spaces.sections import ResourcesSection
from search_spaces.trial import Trial

LONGEST = 4
CHAINS_LEFT = 2
"""How many chains of this length the trials that wait must be enough for, in each group: the fewer are left, the shorter a chain is, so
that none waits behind a long trial while another group is idle."""
PARTITIONED = 3
"""The ZeRO stage that keeps the base in parts."""


def longest_chain(resources: ResourcesSection, zero_stage: int, halved: bool) -> int:
    """Return the largest number of trials of a chain.

    One where each has a process of its own, where a trial's time is limited from its hand-out on, where trials pause at rungs, or where
    several processes must take the same trial next.
    """
    single = resources.solo or resources.time_limit is not None or resources.workers > 1 or zero_stage == PARTITIONED or halved
    return 1 if single else LONGEST


def chain(first: Trial, course: Course, widths: Widths, suspects: Container[str], groups: int, longest: int) -> list[Trial]:
    """Return a trial and those that come after it in the same process.

    Args:
        suspects: ids of trials that must not be in the same process as others.
        groups: number of groups that share the work.
        longest: number of trials at most.
    """
    if longest == 1 or first.id in suspects:
        return [first]
    length = min(longest, course.waiting().get(first.model, 0) // (CHAINS_LEFT * max(1, groups)))
    queued = (trial for trial in course.queued(first.model) if trial.id != first.id and trial.id not in suspects)
    alike = (trial for trial in queued if trial.phase == first.phase and widths.of(trial) == 1)
    return [first, *itertools.islice(alike, max(0, length - 1))]
