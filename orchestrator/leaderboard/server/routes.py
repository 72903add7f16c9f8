"""The routes below `/leaderboard`: the page, a sweep's document, the list of sweeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from flask import Blueprint, Response, request

from orchestrator.leaderboard.server import answers
from orchestrator.leaderboard.server.access import Access
from orchestrator.leaderboard.server.snapshots import Busy, Snapshots
from orchestrator.leaderboard.server.store import ServerStore, SweepEntry
from orchestrator.tracking.connection import shown_uri
from search_spaces.errors import UnknownNameError

_LONGEST_NAME = 200


def routes(store: ServerStore, access: Access, snapshots: Snapshots) -> Blueprint:
    """Return the routes, which read and never write.

    Args:
        access: decides for every request which sweeps there are for its sender.
    """
    views = Views(store, access, snapshots)
    blueprint = Blueprint("fairsweep_leaderboard", __name__)
    for rule, view in (("", views.page), ("/document", views.document), ("/sweeps", views.sweeps)):
        blueprint.add_url_rule(rule, view.__name__, view, methods=["GET"], provide_automatic_options=False)
    blueprint.register_error_handler(Exception, partial(answers.failed, store=shown_uri(store.uri)))
    blueprint.after_request(answers.protected)
    return blueprint


class Views:
    """What the routes answer."""

    def __init__(self, store: ServerStore, access: Access, snapshots: Snapshots) -> None:
        self._store, self._access, self._snapshots = store, access, snapshots

    def page(self) -> Response:
        """Answer with the page of a sweep; it asks for newer documents itself."""
        try:
            entry = self._chosen(self._store.sweeps())
        except UnknownNameError:
            if request.args.get("sweep"):
                raise
            how = "To record one here: fairsweep run SPEC --tracking-uri, with this server's address."
            return answers.message("No sweep yet", f"This server holds no sweep that you may read. {how}")
        try:
            return answers.page(self._document(entry))
        except Busy as busy:
            # The page asks again soon for what is running.
            notes = {"notes": [f"{busy} It appears here by itself."]}
            return answers.page({"sweep": entry.name, "running": True, "experiment_id": entry.experiment_id, "analysis": notes})

    def document(self) -> Response:
        """Answer with the board of a sweep as JSON; of the one that ran last where none is named."""
        try:
            return answers.document(self._document(self._chosen(self._store.sweeps())))
        except Busy as busy:
            return answers.pending(busy)

    def _document(self, entry: SweepEntry) -> dict[str, Any]:
        state = self._store.state(entry)
        snapshot = self._snapshots.get(entry.experiment_id, state, lambda: self._store.board(entry).to_json())
        now = {"experiment_id": entry.experiment_id, "running": entry.running, "stale": snapshot.state != state}
        return {**snapshot.document, **now, "state": answers.fingerprint(snapshot, *now.values())}

    def sweeps(self) -> Response:
        """Answer with the sweeps that the sender may read, the one that ran last first."""
        return answers.document({"sweeps": [asdict(entry) for entry in self._readable(self._store.sweeps())]})

    def _readable(self, entries: Sequence[SweepEntry]) -> list[SweepEntry]:
        allowed = set(self._access.readable([entry.experiment_id for entry in entries]))
        return [entry for entry in entries if entry.experiment_id in allowed]

    def _chosen(self, entries: Sequence[SweepEntry]) -> SweepEntry:
        """Return the sweep that the request names.

        Raises:
            UnknownNameError: there is none of this name, or none that the sender may read, which is not told apart.
        """
        name = request.args.get("sweep")
        found = self._readable([entry for entry in entries if not name or entry.name == name])
        if not found:
            known = self._readable(entries)
            raise UnknownNameError("sweep", (name or "")[:_LONGEST_NAME], [entry.name for entry in known])
        return found[0]
