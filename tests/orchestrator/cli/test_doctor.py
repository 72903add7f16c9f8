"""The doctor as a user calls it, on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.services.ports import LOOPBACK, free_port

Command = Callable[..., Any]


def failures(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {finding["check"]: finding for finding in document["findings"] if finding["level"] == "failure"}


def test_this_machine_for_a_sweep(fairsweep: Command, tmp_path: Path) -> None:
    done = fairsweep("doctor", "quickstart", "--set", "models=[micro-llama]", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 0 and document["ok"], document
    assert set(document) == {"ok", "nodes", "findings"}
    assert all(set(finding) == {"check", "node", "level", "seen", "fix"} for finding in document["findings"])
    (node,) = document["nodes"]
    assert node["machine"]["cpus"] > 0 and node["accelerator"]["deepspeed"] == "cpu"
    judged = {finding["check"] for finding in document["findings"]}
    assert judged >= {"sweep", "versions", "processors", "disk", "room", "gpus", "deepspeed", "storage", "tracking", "model memory"}
    assert "fairsweep: trying the storage" in done.stderr and not list(tmp_path.iterdir())


def test_without_arguments_it_shows_a_table(fairsweep: Command) -> None:
    done = fairsweep("doctor")
    assert done.returncode == 0 and "A sweep can run: 0 failures" in done.stdout
    assert all(word in done.stdout for word in ("deepspeed", "storage", "tracking", "check", "level", "seen", "fix"))


def test_a_sweep_that_would_fail(fairsweep: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    uri = f"http://{LOOPBACK}:{free_port()}"
    sweep = ("quickstart", "--set", "models=[llama2-70b]", "--set", "resources.cpus=1", "--set", "data.source=embedded")
    done = fairsweep("doctor", *sweep, "--storage", "file", "--tracking-uri", uri, "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 1 and not document["ok"]
    assert set(failures(document)) == {"storage", "tracking", "model memory"}
    assert all(finding["fix"] for finding in failures(document).values())


def test_faults_of_the_sweep_are_findings_beside_the_others(fairsweep: Command) -> None:
    done = fairsweep("doctor", "quickstart", "--set", "methods={lorra: {rank: 4}}", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 1 and set(failures(document)) == {"sweep"}
    assert "lorra" in failures(document)["sweep"]["seen"] and document["nodes"]


def test_a_cluster_that_does_not_answer(fairsweep: Command) -> None:
    done = fairsweep("doctor", "--address", f"{LOOPBACK}:{free_port()}", "--json")
    document = json.loads(done.stdout)
    assert (
        done.returncode == 1
        and document["nodes"] == []
        and set(failures(document)) == {"cluster"}
        and "ray start" in failures(document)["cluster"]["fix"]
    )


def test_input_that_makes_no_sense(fairsweep: Command) -> None:
    fairsweep("doctor", "quickstrat").refuses("quickstrat", "quickstart")


def test_no_secret_is_shown(fairsweep: Command) -> None:
    secret = "planted7391secret"
    places = ("--storage", f"s3://user:{secret}@bucket/x", "--tracking-uri", f"postgresql://user:{secret}@{LOOPBACK}:{free_port()}/runs")
    for form in ([], ["--json"]):
        done = fairsweep("doctor", *places, *form)
        assert done.returncode == 1 and secret not in done.stdout + done.stderr
