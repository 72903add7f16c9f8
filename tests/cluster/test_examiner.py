"""Questions to the nodes of a real Ray, among them ones that fail or hang."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from cluster.examiner import ClusterExaminers, cluster_examiners
from cluster.questions import Node, Question
from orchestrator.sweep.ray_session import ray_session


@pytest.fixture(scope="module")
def examiners() -> Iterator[ClusterExaminers]:
    with ray_session(None), cluster_examiners(60) as found:
        yield found


def ask(examiners: ClusterExaminers, function: str, **arguments: object) -> object:
    def question(node: Node) -> Question:
        return function, arguments

    (answer,) = examiners.ask(question).values()
    return answer.value or answer.error


def test_a_node_answers_says_why_it_cannot_and_is_not_waited_for(examiners: ClusterExaminers) -> None:
    (node,) = examiners.nodes
    assert node.resources["CPU"] > 0 and node.temporary and not node.lost
    assert ask(examiners, "os:getpid") != __import__("os").getpid(), "it runs on the node, not here"
    assert "No module named 'nowhere'" in str(ask(examiners, "nowhere:found"))
    assert "FileNotFoundError" in str(ask(examiners, "os:listdir", path="/nowhere"))

    (offset,) = examiners.offsets().values()
    assert abs(offset.seconds) <= offset.uncertainty + 0.5

    examiners.timeout_seconds = 2
    begun = time.monotonic()
    assert examiners.ask(lambda node: ("subprocess:run", {"args": ["sleep", "30"]})) == {}
    assert examiners.silent == {node.name: "no answer within 2 seconds"}
    assert examiners.ask(lambda node: ("os:getpid", {})) == {} and examiners.offsets() == {}, "it is asked no more"
    assert time.monotonic() - begun < 30, "a node that hangs is a finding, not a hang"
