"""A client of the server's own store, that asks the server for nothing."""

from __future__ import annotations

import os
import posixpath
from typing import Any

from mlflow import MlflowClient
from mlflow.server import handlers
from mlflow.server.constants import ARTIFACTS_DESTINATION_ENV_VAR
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository


class ServerClient(MlflowClient):
    """Reads artifacts where they lie, also those for which runs name the server (`mlflow-artifacts:`): it would have to ask itself."""

    def list_artifacts(self, run_id: str, path: str | None = None) -> list[Any]:
        """Return the files of a run, as `MlflowClient` does."""
        return list(self._repository(run_id).list_artifacts(path))

    def download_artifacts(self, run_id: str, path: str, dst_path: str | None = None) -> str:
        """Copy a file or folder of a run to a local folder and return where it is, as `MlflowClient` does."""
        return str(self._repository(run_id).download_artifacts(path, dst_path))

    def _repository(self, run_id: str) -> Any:
        """Return the run's artifacts, found as MLflow's own handlers find them."""
        location = str(self.get_run(run_id).info.artifact_uri)
        if handlers._is_servable_proxied_run_artifact_root(location):
            inside = handlers._get_proxied_run_artifact_destination_path(location)
            location = posixpath.join(os.environ[ARTIFACTS_DESTINATION_ENV_VAR], inside)
        return get_artifact_repository(location, tracking_uri=self.tracking_uri)
