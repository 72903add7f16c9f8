"""The slots of the fleet's groups: which trial has which, and in which incarnation of the group's processes."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.sweep.cohorts import PackKey


@dataclass(frozen=True)
class Lease:
    """A slot that is taken.

    Attributes:
        trial_id: of the trial.
        tune_id: of the Tune trial that it was handed out with.
        group: number of the group.
        incarnation: how often the group's processes had been started anew.
        pack: what all trials in the group have in common.
        alone: whether nothing may run beside the trial.
    """

    trial_id: str
    tune_id: str
    group: int
    incarnation: int
    pack: PackKey
    alone: bool = False


class Slots:
    """Which slots are taken, by the id of the trial that has each."""

    def __init__(self) -> None:
        self._leases: dict[str, Lease] = {}
        self._incarnations: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self._leases)

    def take(self, tune_id: str, trial_id: str, group: int, pack: PackKey, alone: bool = False) -> None:
        """Note that a trial has a slot of a group."""
        self._leases[trial_id] = Lease(trial_id, tune_id, group, self._incarnations.get(group, 0), pack, alone)

    def free(self, tune_id: str, trial_id: str) -> Lease | None:
        """Give back the slot that a Tune trial has for a trial; return what it was taken for, or None if it was given back already."""
        lease = self._leases.get(trial_id)
        return self._leases.pop(trial_id) if lease is not None and lease.tune_id == tune_id else None

    def held_by(self, tune_id: str) -> list[Lease]:
        """Return the slots that a Tune trial has."""
        return [lease for lease in self._leases.values() if lease.tune_id == tune_id]

    def of(self, group: int) -> list[Lease]:
        """Return the taken slots of a group."""
        return [lease for lease in self._leases.values() if lease.group == group]

    def busy(self) -> int:
        """Return the number of groups that have a trial."""
        return len({lease.group for lease in self._leases.values()})

    def company(self, lease: Lease) -> list[str]:
        """Return the trials that still have slots in the processes of a lease that was given back."""
        return [other.trial_id for other in self.of(lease.group) if other.incarnation == lease.incarnation]

    def stands(self, lease: Lease) -> bool:
        """Tell whether the processes of a lease have not been started anew since."""
        return self._incarnations.get(lease.group, 0) == lease.incarnation

    def renew(self, group: int) -> None:
        """Note that a group's processes are started anew."""
        self._incarnations[group] = self._incarnations.get(group, 0) + 1

    def room(self, group: int) -> int:
        """Return how many trials may begin beside those that a group has; of half-empty groups only, so that they begin in step."""
        leases = self.of(group)
        if any(lease.alone or not self.stands(lease) for lease in leases):
            return 0
        width = leases[0].pack.width
        left = width - len(leases)
        return left if 2 * left >= width else 0
