"""The apps that `mlflow server --app-name` starts: MLflow with the leaderboard beside it.

MLflow is imported inside: the command `mlflow server` imports this module too, before it starts the server.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from orchestrator.tracking.server import AUTH_CONFIG

if TYPE_CHECKING:
    from flask import Flask


def create_app() -> Any:
    """Return the app `fairsweep`: it asks for a login when `MLFLOW_AUTH_CONFIG_PATH` is set, as `fairsweep-auth` does."""
    if os.environ.get(AUTH_CONFIG):
        return create_authenticated_app()
    from mlflow.environment_variables import _MLFLOW_SGI_NAME
    from mlflow.server import app

    from orchestrator.leaderboard.server.access import Everybody

    _add_leaderboard(app, Everybody())
    if _MLFLOW_SGI_NAME.get() != "uvicorn":
        return app
    from mlflow.server.fastapi_app import app as asgi_app

    return asgi_app


def create_authenticated_app() -> Any:
    """Return the app `fairsweep-auth`: MLflow's basic auth guards all routes, those of the leaderboard included.

    Raises:
        ImportError: the extra `mlflow[auth]` is not installed.
        MlflowException: MLflow's secret key or its administrator's password is missing.
    """
    from mlflow.server import app, auth

    from orchestrator.leaderboard.server.access import LoggedIn

    for path in _add_leaderboard(app, LoggedIn()):
        for method in ("GET", "HEAD"):
            # Any user may ask; what is shown is what the user may read. MLFLOW_BASIC_AUTH_FAIL_CLOSED refuses paths without an entry.
            auth.BEFORE_REQUEST_VALIDATORS[path, method] = _anyone
    return auth.create_app(app)


def _anyone() -> bool:
    return True


def _add_leaderboard(app: Flask, access: Any) -> list[str]:
    """Add the routes to MLflow's Flask app, the part of it that its login guards; return their paths."""
    from mlflow.server.constants import BACKEND_STORE_URI_ENV_VAR
    from mlflow.server.handlers import STATIC_PREFIX_ENV_VAR

    from orchestrator.leaderboard.server.routes import routes
    from orchestrator.leaderboard.server.snapshots import Snapshots
    from orchestrator.leaderboard.server.store import ServerStore

    prefix = os.environ.get(STATIC_PREFIX_ENV_VAR, "").rstrip("/")
    before = {str(rule) for rule in app.url_map.iter_rules()}
    store = ServerStore(os.environ.get(BACKEND_STORE_URI_ENV_VAR, ""))
    app.register_blueprint(routes(store, access, Snapshots()), url_prefix=f"{prefix}/leaderboard")
    return sorted({str(rule) for rule in app.url_map.iter_rules()} - before)
