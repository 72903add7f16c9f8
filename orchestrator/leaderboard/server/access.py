"""Which experiments the sender of a request may read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Access(Protocol):
    """Tells what may be shown to the sender of the current request."""

    def readable(self, experiment_ids: Iterable[str]) -> list[str]:
        """Return those experiments whose runs the sender may read, in the same order."""


class Everybody:
    """A server without logins: everybody who reaches it may read everything."""

    def readable(self, experiment_ids: Iterable[str]) -> list[str]:
        """Return all of them."""
        return list(experiment_ids)


class LoggedIn:
    """MLflow's basic auth: a user may read an experiment's board who may read its runs."""

    def readable(self, experiment_ids: Iterable[str]) -> list[str]:
        """Return those that MLflow lets the user read, by the decision that it takes before it shows a run.

        MLflow's own filter of experiments returns all of them when it fails; this one fails.
        """
        from flask import g
        from mlflow.server import auth

        user: str = g.mlflow_authenticated_user
        if auth.store.get_user(user).is_admin:
            return list(experiment_ids)
        return [experiment_id for experiment_id in experiment_ids if _may_read_runs(user, experiment_id)]


def _may_read_runs(user: str, experiment_id: str) -> bool:
    from mlflow.server.auth import authorize
    from mlflow.server.auth.requirements import Requirement

    experiment = ("experiment", experiment_id)
    requirements = [Requirement(*experiment, "read"), Requirement("run", "*", "read", fallback_if_no_grant=(experiment,))]
    return bool(authorize(user, experiment, requirements))
