"""The adapter of a run, for other tools."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from orchestrator.tracking.records import RunReader
from search_spaces.errors import NotApplicableError, StorageError


def export_run(reader: RunReader, run_id: str, form: str, out: Path) -> None:
    """Fetch a run's adapter and write it in another form.

    Args:
        form: `lora`, `peft` or `merged`.
        out: a folder that does not exist or is empty.

    Raises:
        TrackingError: there is no such run.
        NotApplicableError: the run has no adapter, or its method no such form.
        StorageError: `out` has files in it.
    """
    from trainers.export import export
    from trainers.models import load

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StorageError(f"{out} is not empty. Fix: name a new folder")
    record = reader.run(run_id)
    if record.status != "finished" or record.outcome.profile.adapter_bytes is None:
        raise NotApplicableError(f"run {record.run_id} ({record.trial.label}, {record.status}) has no adapter to export")
    with TemporaryDirectory(prefix="fairsweep-export-") as folder:
        adapter = reader.download(record.run_id, "adapter", Path(folder))
        export(load(record.trial.model), adapter, form, out)
