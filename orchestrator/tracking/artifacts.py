"""Where the artifacts of runs lie, and how single files of them are fetched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from search_spaces.errors import StorageError

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from orchestrator.tracking.run_record import RunRecord


def local_folder(tracking_uri: str, artifact_uri: str) -> Path | None:
    """Return the folder of this machine that an artifact URI stands for; None for another one, and for what a server names."""
    if tracking_uri.startswith(("http://", "https://")) or not artifact_uri:
        return None
    parts = urlsplit(artifact_uri)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    return Path(artifact_uri) if not parts.scheme and not parts.netloc else None


def stamp(file: Path) -> str | None:
    """Return what changes whenever a file does; None while there is none."""
    try:
        state = file.stat()
    except OSError:
        return None
    # A program can set the time of the last modification, but not that of the last change of the state.
    return f"{state.st_dev} {state.st_ino} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}"


def fetch(client: MlflowClient, record: RunRecord, artifact: str, folder: Path) -> Path:
    """Fetch one file of a run into a folder; return where it is.

    Args:
        client: one of MLflow's own goes to the place that the record names; another may have ways of its own, and is asked.
        record: the run.
        artifact: the file's path below the run's artifacts.
        folder: is there already.

    Raises:
        StorageError: the run has no such file.
    """
    from mlflow import MlflowClient, MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    own = type(client) is MlflowClient
    place: Any = get_artifact_repository(record.artifact_uri, tracking_uri=client.tracking_uri) if own else None
    try:
        if own:
            return Path(place.download_artifacts(artifact, str(folder)))
        return Path(client.download_artifacts(record.run_id, artifact, str(folder)))
    except (MlflowException, OSError) as error:
        # Every failure of a download looks like one of the server: only a listing tells whether the file is there.
        files = place.list_artifacts() if own else client.list_artifacts(record.run_id)
        if artifact not in {file.path for file in files}:
            raise StorageError(f"{artifact} is missing among the run's artifacts") from error
        raise
