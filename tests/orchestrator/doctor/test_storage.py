from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from cluster.questions import Answer, Node, Question, ThisMachine
from orchestrator.doctor.services import storage
from orchestrator.doctor.storage_probe import StorageProbe, probe, visit
from orchestrator.doctor.subject import Subject
from tests.services.object_store import ObjectStore


class Elsewhere(ThisMachine):
    """A node on which the same path is another folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__("elsewhere")
        self._folder = folder

    def ask(self, question: Callable[[Node], Question]) -> dict[str, Answer]:
        arguments: Mapping[str, object] = question(self.nodes[0])[1]
        moved = {**arguments, "folder": str(self._folder / Path(str(arguments["folder"])).name)}
        return {"elsewhere": Answer(visit(**moved))}


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A file system without a free byte."""
    folder = tmp_path / "full"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system takes root")
    (folder / "filling").write_bytes(bytes(60 * 1024))
    yield folder
    subprocess.run(["umount", folder], check=True)


def judged(found: StorageProbe, subject_of: Callable[..., Subject]) -> list[tuple[str, str, str]]:
    subject = Subject(**{**vars(subject_of()), "storage": found})
    return [(finding.level, finding.seen, finding.fix) for finding in storage(subject)]


def test_a_storage_that_is_to_be_made_leaves_nothing(tmp_path: Path, subject_of: Callable[..., Subject]) -> None:
    found = probe(str(tmp_path / "a" / "b"), ThisMachine("here"))
    ((level, _, _),) = judged(found, subject_of)
    assert level == "ok" and list(tmp_path.iterdir()) == []


def test_a_storage_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "outcome").write_text("1")
    assert probe(str(tmp_path), ThisMachine("here")) == StorageProbe(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["outcome"]


def test_a_file_in_the_place_of_the_storage(tmp_path: Path, subject_of: Callable[..., Subject]) -> None:
    (tmp_path / "file").write_text("")
    ((level, seen, fix),) = judged(probe(str(tmp_path / "file"), ThisMachine("here")), subject_of)
    assert level == "failure" and str(tmp_path / "file") in seen and fix


def test_a_storage_without_room(full: Path, subject_of: Callable[..., Subject]) -> None:
    ((level, seen, fix),) = judged(probe(str(full), ThisMachine("here")), subject_of)
    assert level == "failure" and "no space left" in seen and "free space" in fix
    assert [path.name for path in full.iterdir()] == ["filling"]


def test_a_node_that_sees_another_folder(tmp_path: Path, subject_of: Callable[..., Subject]) -> None:
    (tmp_path / "own").mkdir()
    found = probe(str(tmp_path / "shared"), Elsewhere(tmp_path / "own"))
    ((level, seen, fix),) = judged(found, subject_of)
    assert level == "failure" and "does not see what the driver wrote" in seen and "s3://" in fix
    assert not list((tmp_path / "own").iterdir())


def test_a_uri_that_no_file_system_is_for(subject_of: Callable[..., Subject]) -> None:
    ((level, _, fix),) = judged(probe("carrier-pigeon://loft/sweeps", ThisMachine("here")), subject_of)
    assert level == "failure" and fix


@pytest.mark.services
def test_an_object_store(object_store: ObjectStore) -> None:
    uri = object_store.uri("doctor")
    assert probe(uri, ThisMachine("here")).error == "" and probe(uri, ThisMachine("here")).problems == {}
