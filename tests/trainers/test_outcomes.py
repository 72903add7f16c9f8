"""Outcomes and checkpoints in each kind of storage: there whole or not at all, whatever happens to whoever writes them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from search_spaces.errors import StorageError
from search_spaces.trial import Checkpointing, DataRef, MethodRef, ModelRef, Training, Trial
from tests.services.object_store import ObjectStore
from tests.services.required import required
from trainers.checkpoint_store import CheckpointStore
from trainers.folders import CHECKSUMS
from trainers.outcomes import OutcomeStore
from trainers.results import Outcome
from trainers.storage import DamagedError, Storage


def trial_of(seed: int = 0) -> Trial:
    training = Training(
        learning_rate=1e-3,
        steps=4,
        batch_size=4,
        optimizer="adamw",
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.0,
        scheduler="linear",
        warmup_ratio=0.06,
        clip=1.0,
        dropout=0.0,
        max_length=64,
        max_new_tokens=4,
        checkpoint=Checkpointing(best="loss", evaluations=2),
    )
    return Trial(
        phase="select",
        label="lora",
        model=ModelRef(id="micro-llama"),
        task="squad",
        data=DataRef(source="embedded", digest="0" * 64, train=12, selection=4, test=4, seed=0),
        method=MethodRef(name="lora", version="1", capacity={"rank": 2}),
        targets=("q", "v"),
        training=training,
        seed=seed,
    )


def outcome_of(trial: Trial, attempt: str, **changes: Any) -> Outcome:
    return Outcome(**{"trial_id": trial.id, "attempt": attempt, "status": "finished", "started": 0.0, "ended": 1.0, **changes})


def staged(store: OutcomeStore, trial: Trial, attempt: str) -> Path:
    folder = store.staging(trial.id, attempt)
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter.safetensors").write_bytes(attempt.encode())
    return folder


def commit(store: OutcomeStore, trial: Trial, attempt: str) -> bool:
    return store.commit(trial, outcome_of(trial, attempt), staged(store, trial, attempt))


@pytest.fixture
def store(place: Storage) -> OutcomeStore:
    return OutcomeStore(place / "outcomes")


def stored(place: Storage, ending: str) -> Storage:
    """The file below a place whose path ends so."""
    return place.inside(next(name for name in sorted(place.files()) if name.endswith(ending)))


def test_an_outcome_is_read_back_with_its_files(store: OutcomeStore) -> None:
    trial = trial_of()
    assert store.read(trial.id) is None and store.digest(trial.id) is None and list(store.ids()) == []
    assert commit(store, trial, "one")
    for reader in (store, OutcomeStore(store.root), OutcomeStore(store.root.uri)):
        assert list(reader.ids()) == [trial.id]
        assert reader.read(trial.id) == outcome_of(trial, "one")
        assert reader.trial(trial.id) == trial
        with reader.files(trial.id) as folder:
            names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
            assert names == {"trial.json", "outcome.json", CHECKSUMS, "adapter/adapter.safetensors"}


def test_the_first_whole_outcome_wins_and_no_mixture_is_read(store: OutcomeStore) -> None:
    trial = trial_of()
    late = staged(store, trial, "late")
    assert commit(store, trial, "zeroth")
    assert not store.commit(trial, outcome_of(trial, "late"), late)
    assert not OutcomeStore(store.root).commit(trial, outcome_of(trial, "a later one"))
    found = OutcomeStore(store.root).read(trial.id)
    assert found is not None and found.attempt == "zeroth"
    with store.files(trial.id) as folder:
        assert (folder / "adapter" / "adapter.safetensors").read_bytes() == b"zeroth"
    assert len([name for name in store.root.files() if name.endswith("outcome.json")]) == 1, "the others have left nothing"
    assert not late.exists()


def test_what_an_attempt_left_half_neither_counts_nor_stands_in_the_way(store: OutcomeStore) -> None:
    trial = trial_of()
    if store.root.local is not None:
        staged(store, trial, "dead")
    else:
        (store.root / trial.id / "dead" / "outcome.json").write(b"{")
    assert list(store.ids()) == [] and store.read(trial.id) is None
    assert commit(store, trial, "alive")
    swept = store.sweep_up()
    assert len(swept) == 1 and "dead" in swept[0] and store.sweep_up() == []
    found = store.read(trial.id)
    assert found is not None and found.attempt == "alive"


@pytest.mark.parametrize("harm", [lambda c: c[:-3], lambda c: bytes([c[0] ^ 1]) + c[1:], lambda c: b""])
@pytest.mark.parametrize("file", ["outcome.json", CHECKSUMS])
def test_a_damaged_outcome_is_told_and_can_be_set_aside(store: OutcomeStore, file: str, harm: Callable[[bytes], bytes]) -> None:
    trial = trial_of()
    commit(store, trial, "one")
    harmed = stored(store.root, file)
    content = harmed.read()
    assert content is not None
    harmed.write(harm(content))
    with pytest.raises(DamagedError, match="Fix: remove"), OutcomeStore(store.root).files(trial.id):
        pass
    if file == "outcome.json" or not harm(content):
        with pytest.raises(DamagedError, match="Fix: remove"):
            OutcomeStore(store.root).read(trial.id)
    kept = store.set_aside(trial.id, "damaged")
    assert store.read(trial.id) is None and len(kept.files()) == 4
    assert commit(store, trial, "two")
    assert store.set_aside(trial.id, "damaged").name != kept.name


@pytest.mark.parametrize("change", ["cut", "gone"])
def test_a_damaged_adapter_is_never_handed_out(store: OutcomeStore, change: str) -> None:
    trial = trial_of()
    commit(store, trial, "one")
    adapter = stored(store.root, "adapter.safetensors")
    if change == "cut":
        adapter.write(b"on")
    else:
        adapter.remove()
    with pytest.raises(DamagedError, match=r"adapter\.safetensors does not match"), OutcomeStore(store.root).files(trial.id):
        pass


def test_an_id_cannot_leave_the_store(store: OutcomeStore) -> None:
    for read in (store.read, store.trial, store.digest):
        with pytest.raises(StorageError):
            read("../secrets")


def test_each_is_read_once_and_only_where_there_is_one(store: OutcomeStore) -> None:
    trials = [trial_of(seed) for seed in range(3)]
    for trial in trials[:2]:
        commit(store, trial, "one")
    found = store.read_each([trial.id for trial in trials], store.read)
    assert set(found) == {trials[0].id, trials[1].id} and all(found.values())


@pytest.mark.services
def test_listing_and_absent_outcomes_cost_one_request_however_many_there_are(object_store: ObjectStore) -> None:
    root = Storage.at(object_store.uri("many/outcomes"))
    for number in range(30):
        (root / f"trial{number}" / "one" / CHECKSUMS).write(b"")
        (root / f"trial{number}" / "one" / "outcome.json").write(b"{}")
    store, before = OutcomeStore(root), len(object_store.requests())
    assert len(list(store.ids())) == 30
    assert store.read_each([f"absent{number}" for number in range(1000)], store.read) == {}
    assert len(object_store.requests()) - before == 2, object_store.requests()[before:]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    required(mounted, "a file system cannot be mounted here, which takes root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.services
def test_a_full_disk_loses_the_one_outcome_and_goes_on_once_it_is_freed(small_disk: Path) -> None:
    store, trials, ballast = OutcomeStore(small_disk / "outcomes"), [trial_of(seed) for seed in range(2)], small_disk / "ballast"
    commit(store, trials[0], "one")
    staging = staged(store, trials[1], "two")
    with pytest.raises(OSError, match="No space left"):
        ballast.write_bytes(bytes(600_000))
    with pytest.raises(StorageError, match="no space left at .*run the same command again"):
        store.commit(trials[1], outcome_of(trials[1], "two", error="x" * 9000), staging)
    assert list(store.ids()) == [trials[0].id]
    ballast.unlink()
    store.sweep_up()
    assert commit(store, trials[1], "three")
    assert [path.name for path in (small_disk / "outcomes").iterdir() if path.name.startswith(".")] == []


@pytest.mark.services
def test_a_checkpoint_that_fills_the_disk_leaves_the_one_before_and_no_remains(small_disk: Path) -> None:
    store = CheckpointStore(Storage.at(small_disk) / "t1")
    save(store, 5)
    with pytest.raises((OSError, StorageError)):
        store.save(10, lambda folder: (folder / "state").write_bytes(bytes(600_000)))
    assert newest(store) == "005"
    assert sum(path.stat().st_size for path in small_disk.rglob("*") if path.is_file()) < 1000


@pytest.mark.services
def test_a_full_bucket_loses_the_one_outcome_and_tells_what_to_do(object_store: ObjectStore) -> None:
    store, trials = OutcomeStore(object_store.uri("quota/outcomes")), [trial_of(seed) for seed in range(2)]
    commit(store, trials[0], "one")
    object_store.fill()
    try:
        with pytest.raises(StorageError, match="no space left at s3://sweeps/quota/outcomes.*run the same command again"):
            commit(store, trials[1], "one")
    finally:
        object_store.free()
    assert list(store.ids()) == [trials[0].id]
    assert commit(store, trials[1], "two")


def save(store: CheckpointStore, step: int) -> None:
    store.save(step, lambda folder: (folder / "state").write_text(f"{step:03d}"))


def newest(store: CheckpointStore) -> str | None:
    with store.newest() as folder:
        return None if folder is None else (folder / "state").read_text()


def test_the_newest_checkpoint_and_the_one_before_are_kept(place: Storage) -> None:
    store = CheckpointStore(place / "checkpoints" / "t1")
    assert newest(store) is None
    for step in (5, 10, 100):
        save(store, step)
    assert newest(store) == "100"
    assert sorted({name.split("/")[0] for name in store.place.files()}) == ["000000010", "000000100"]
    store.remove()
    store.remove()
    assert newest(store) is None and not store.place.files()


@pytest.mark.parametrize("harm", [lambda c: c[:-2], lambda c: bytes([c[0] ^ 1]) + c[1:], lambda c: b""])
@pytest.mark.parametrize("file", ["state", CHECKSUMS])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(place: Storage, file: str, harm: Callable[[bytes], bytes]) -> None:
    store = CheckpointStore(place / "checkpoints" / "t1")
    save(store, 5)
    save(store, 10)
    newer = stored(store.place, f"10/{file}") if place.local else stored(store.place / "000000010", file)
    content = newer.read()
    assert content is not None
    newer.write(harm(content))
    assert newest(store) == "005"
    save(store, 10)
    assert newest(store) == "010"


def test_a_checkpoint_that_cannot_be_finished_leaves_the_one_before(place: Storage) -> None:
    store = CheckpointStore(place / "checkpoints" / "t1")
    save(store, 5)

    def die(folder: Path) -> None:
        (folder / "state").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        store.save(10, die)
    assert newest(store) == "005" and {name.split("/")[0] for name in store.place.files()} == {"000000005"}
