"""A driver of a fleet of stub workers, told what to do line by line: `python -m tests.cluster.nodes_driver FOLDER WORKERS GROUPS`.

Commands on stdin, each answered by a line of JSON on stdout: `ready` (numbers of the groups that are), `nodes NUMBER` (addresses of a
group's nodes), `run NUMBER SECONDS` (how a job of that length ended), `start NUMBER`, `groups` (states of the placement groups).
"""

from __future__ import annotations

import json
import sys
from typing import Any

import ray
from ray.util.placement_group import placement_group_table

from cluster.fleet import Fleet
from cluster.handout import Limits, hand_out
from cluster.resources import TrialResources
from orchestrator.sweep.ray_session import ray_session

ANSWER = "answer: "
"""Begins an answer: Ray writes to stdout too."""


def main(folder: str, workers: str, groups: str) -> None:
    with ray_session("auto"):
        fleet = Fleet("tests.cluster.stub:Stub", {"folder": folder}, TrialResources(cpus=1, workers=int(workers)))
        for number in range(int(groups)):
            fleet.start(number, ("base",))
        for line in sys.stdin:
            sys.stdout.write(f"{ANSWER}{json.dumps(answer(fleet, *line.split()))}\n")
            sys.stdout.flush()
        fleet.close()


def answer(fleet: Fleet, command: str, *arguments: str) -> Any:
    if command == "ready":
        return fleet.ready()
    if command == "groups":
        return [entry["state"] for entry in placement_group_table().values()]
    number = int(arguments[0])
    if command == "start":
        return fleet.start(number, ("base",))
    members = [ray.get_actor(name) for name in fleet.names(number)]
    if command == "nodes":
        return ray.get([member.address.remote() for member in members])
    ending = hand_out(members, {"steps": int(float(arguments[1]) * 10), "seconds": 0.1}, Limits(stall=600))
    return {"reason": ending.reason, "broken": ending.broken}


if __name__ == "__main__":
    main(*sys.argv[1:])
