"""The leaderboard of one sweep with its certificate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from orchestrator.audit import Audit, audit
from orchestrator.cells import row_name
from orchestrator.leaderboard.analysis import Analysis, Drift, Reference
from orchestrator.leaderboard.curve import Curves, best_under_budget
from orchestrator.leaderboard.published import Footnotes, footnotes_of
from orchestrator.leaderboard.row import Row
from orchestrator.leaderboard.rows import rows_of
from orchestrator.recorded import RecordedSweep

if TYPE_CHECKING:
    from orchestrator.leaderboard.samples import Evidence


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
    solo: bool = False
    """Whether the sweep asks for profiles: trials that run alone."""
    analysis: Analysis = field(default_factory=Analysis)
    """Comparisons, fronts, grids, budgets."""

    @cached_property
    def curves(self) -> Curves:
        """What the methods that come in several sizes reach with at most so many parameters."""
        return best_under_budget(self.rows)

    @cached_property
    def footnotes(self) -> Footnotes:
        """The sources of the published figures, as they are cited on the board."""
        return footnotes_of(self.rows)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Board:
        """Return the board that `to_json` wrote.

        Raises:
            KeyError: the document lacks something.
            ValueError: something in it is not valid.
        """
        return cls(
            sweep=str(document["sweep"]),
            digest=str(document["digest"]),
            tasks=dict(document["tasks"]),
            axes=tuple(document["axes"]),
            rows=tuple(Row.model_validate(row) for row in document["rows"]),
            certificate=Audit.from_json(document["certificate"]),
            solo=bool(document["solo"]),
            analysis=Analysis.model_validate(document["analysis"]),
        )

    def to_json(self) -> dict[str, Any]:
        """Return what `fairsweep leaderboard --format json` prints."""
        rows = [row.model_dump(mode="json") for row in self.rows]
        curves = {
            model: {label: [step.model_dump(mode="json") for step in steps] for label, steps in curves.items()}
            for model, curves in self.curves.items()
        }
        return {
            "verdict": self.verdict(),
            "sweep": self.sweep,
            "digest": self.digest,
            "tasks": dict(self.tasks),
            "axes": list(self.axes),
            "solo": self.solo,
            "rows": rows,
            "names": [row_name(row.method, row.capacity) for row in self.rows],
            "best_under_budget": curves,
            "certificate": self.certificate.to_json(),
            "analysis": self.analysis.model_dump(mode="json"),
        }

    def verdict(self) -> str:
        """Return the certificate in one line, the first of every text format."""
        return verdict(self.certificate)


def board_of(
    sweep: RecordedSweep, evidence: Evidence | None = None, *, references: Sequence[Reference] = (), drift: Sequence[Drift] = ()
) -> Board:
    """Compute the leaderboard of a sweep.

    Args:
        sweep: what ran.
        evidence: what the report runs left; without it there are no intervals, comparisons and curves.
        references: published results, which are shown and never ranked.
        drift: what the sentinel trials say of the environments.
    """
    # Loads scipy, which a board that is at hand does not need.
    from orchestrator.leaderboard.findings import findings_of

    certificate = audit(sweep)
    plan = sweep.plan
    rows, analysis = findings_of(sweep, rows_of(sweep, certificate), evidence, references=references, drift=drift)
    return Board(plan.sweep, plan.digest, dict(plan.main_metrics), plan.varied, rows, certificate, plan.spec.resources.solo, analysis)


def verdict(certificate: Audit) -> str:
    """Return a certificate in one line."""
    failing = [rule.id for rule in certificate.rules if not rule.ok]
    total = len(certificate.rules)
    missing = f"; {len(certificate.missing)} planned trials have not run" if certificate.missing else ""
    if failing:
        return f"Certificate: FAILS {', '.join(failing)} ({total - len(failing)} of {total} rules hold){missing}"
    return f"Certificate: {'incomplete' if missing else 'holds'} ({total} of {total} rules){missing}"
