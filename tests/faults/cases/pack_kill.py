"""A worker that dies with a full pack loses all of its trials at once; each goes on, and none of them counts as the cause."""

from __future__ import annotations

from tests.faults.cases.worker_kill import WorkerKill


class PackKill(WorkerKill):
    done = "kill -9 of a worker in the middle of a step of a full pack"
    in_ci = False
    overrides = ("packing=4",)
    like = ("packing=4",)


FAULT = PackKill
