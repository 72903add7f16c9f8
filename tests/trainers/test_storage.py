from __future__ import annotations

import socket
from pathlib import Path

import pytest

from search_spaces.errors import StorageError
from tests.services.object_store import ObjectStore
from trainers.storage import Storage

SECRET = "hunter2"


def test_a_file_is_written_replaced_read_and_removed(place: Storage) -> None:
    file = place / "driver.json"
    assert file.read() is None
    file.write(b"first")
    file.write(b"second")
    assert file.read() == b"second" and place.names() == ["driver.json"]
    file.remove()
    file.remove()
    assert file.read() is None


@pytest.mark.services
def test_an_upload_puts_the_last_file_last_and_comes_back_as_it_was(object_store: ObjectStore, tmp_path: Path) -> None:
    place, source = Storage.at(object_store.uri("transfers")), tmp_path / "source"
    (source / "adapter").mkdir(parents=True)
    (source / "adapter" / "weights").write_bytes(bytes(3_000_000))
    (source / "empty").touch()
    (source / "a-sum").write_text("sums")
    (place / "t1").upload(source, last="a-sum")
    written = [line for line in object_store.requests() if line.startswith("PUT")]
    assert written[-1].endswith("/a-sum")
    assert {name: stored.size for name, stored in place.files().items()} == {"t1/adapter/weights": 3_000_000, "t1/empty": 0, "t1/a-sum": 4}
    (place / "t1").download(tmp_path / "back")
    assert (tmp_path / "back" / "adapter" / "weights").read_bytes() == bytes(3_000_000)
    assert {p.name for p in (tmp_path / "back").rglob("*") if p.is_file()} == {"weights", "empty", "a-sum"}


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "a\\b", "a\nb", "/etc"])
def test_names_cannot_leave_their_place(place: Storage, name: str) -> None:
    with pytest.raises(StorageError, match="names no file"):
        place / name


def test_a_place_is_the_same_in_another_process(place: Storage) -> None:
    inner = place / "a sweep" / "driver#1.json"
    inner.write(b"here")
    assert Storage.at(inner.uri).read() == b"here"
    assert Storage.at((inner.parent).uri).names() == ["driver#1.json"]
    assert "?" not in str(inner)


@pytest.mark.parametrize("location", ["sweeps", "./sweeps", "/data/sweeps", Path("sweeps")])
def test_a_path_is_a_folder_of_this_machine(location: str | Path) -> None:
    assert Storage.at(location).local == Path(location).absolute()
    assert Storage.at(Path(location).absolute().as_uri()).local == Path(location).absolute()


@pytest.mark.parametrize(
    "uri",
    [
        f"s3://user:{SECRET}@bucket/sweeps",
        f"s3://{SECRET}@bucket/sweeps",
        f"s3://bucket/sweeps?secret_key={SECRET}",
        f"gs://bucket/sweeps?access_token={SECRET}",
        f"hdfs://user:{SECRET}@host:8020/sweeps",
        f"abfs://bucket/sweeps?account_key={SECRET}",
    ],
)
def test_a_credential_in_the_uri_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(StorageError, match="AWS_ACCESS_KEY_ID") as caught:
        Storage.at(uri)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("ftp://host/sweeps", "Valid: a path, file://, s3://"),
        ("fsspec+memory:///sweeps", "Valid: a path"),
        ("s3:/bucket/sweeps", "names no bucket"),
        ("s3://bucket/sweeps?regoin=x&region=y", "unknown option 'regoin'"),
    ],
)
def test_a_uri_that_cannot_be_used_is_told_with_what_is_valid(uri: str, told: str) -> None:
    with pytest.raises(StorageError) as caught:
        Storage.at(uri)
    assert told in str(caught.value)


def test_check_leaves_nothing_behind(place: Storage) -> None:
    place.check()
    assert place.names() == []


def refused(port: int) -> str:
    with pytest.raises(StorageError, match="cannot write s3://bucket/sweeps/.probe") as caught:
        Storage.at(f"s3://bucket/sweeps?scheme=http&endpoint_override=127.0.0.1:{port}").check()
    return str(caught.value)


def test_a_store_that_cannot_be_reached_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    text = refused(port=9)
    assert "endpoint_override" in text and SECRET not in text and "\n" not in text


@pytest.mark.services
@pytest.mark.usefixtures("object_store")
def test_a_store_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        assert "check the network" in refused(mute.getsockname()[1])


@pytest.mark.services
def test_a_bucket_that_is_missing_or_full_is_told_as_such(object_store: ObjectStore) -> None:
    with pytest.raises(StorageError, match="make the bucket"):
        Storage.at(object_store.uri("sweeps").replace("//sweeps", "//elsewhere")).check()
    object_store.fill()
    try:
        with pytest.raises(StorageError, match="no space left at s3://sweeps/full"):
            Storage.at(object_store.uri("full")).check()
    finally:
        object_store.free()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write .*/file/"):
        Storage.at(tmp_path / "file" / "sweeps").check()
