"""The leaderboard of one sweep with its certificate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.audit import Audit, audit
from orchestrator.leaderboard.row import Row
from orchestrator.leaderboard.rows import rows_of
from orchestrator.recorded import RecordedSweep


@dataclass(frozen=True)
class Board:
    """Rows, and the certificate that they were compared fairly, both derived from MLflow alone."""

    sweep: str
    digest: str
    tasks: dict[str, str]
    """Task -> its main metric."""
    axes: tuple[str, ...]
    """Axes of the grid that vary."""
    rows: tuple[Row, ...]
    certificate: Audit

    def to_json(self) -> dict[str, Any]:
        """Return what `fairsweep leaderboard --format json` prints."""
        rows = [row.model_dump(mode="json") for row in self.rows]
        return {"sweep": self.sweep, "digest": self.digest, "rows": rows, "certificate": self.certificate.to_json()}

    def verdict(self) -> str:
        """Return the certificate in one line, the first of every text format."""
        return verdict(self.certificate)


def board_of(sweep: RecordedSweep) -> Board:
    """Compute the leaderboard of a sweep."""
    certificate = audit(sweep)
    rows = tuple(rows_of(sweep, certificate))
    return Board(sweep.plan.sweep, sweep.plan.digest, dict(sweep.plan.main_metrics), sweep.plan.varied, rows, certificate)


def verdict(certificate: Audit) -> str:
    """Return a certificate in one line."""
    failing = [rule.id for rule in certificate.rules if not rule.ok]
    total = len(certificate.rules)
    missing = f"; {len(certificate.missing)} planned trials have not run" if certificate.missing else ""
    if failing:
        return f"Certificate: FAILS {', '.join(failing)} ({total - len(failing)} of {total} rules hold){missing}"
    return f"Certificate: {'incomplete' if missing else 'holds'} ({total} of {total} rules){missing}"
