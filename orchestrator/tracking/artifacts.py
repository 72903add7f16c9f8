"""Where the artifacts of runs lie, and how single files of them are fetched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

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
    """
    from mlflow import MlflowClient
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    if type(client) is not MlflowClient:
        return Path(client.download_artifacts(record.run_id, artifact, str(folder)))
    repository: Any = get_artifact_repository(record.artifact_uri, tracking_uri=client.tracking_uri)
    return Path(repository.download_artifacts(artifact, str(folder)))
