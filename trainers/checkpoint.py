"""What a checkpoint of a running trial holds: adapter, optimiser, random generators and progress.

It goes on from the very state, so a continued trial ends with the numbers of an undisturbed one.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from search_spaces.errors import StorageError
from trainers.checkpoint_store import CheckpointStore
from trainers.operations import Operations

if TYPE_CHECKING:
    from trainers.engine import Engine
    from trainers.loop import TrainingRun

log = logging.getLogger(__name__)

GROUP = "group"
"""Key of what is said of the workers that wrote a checkpoint."""


def write_checkpoint(store: CheckpointStore, run: TrainingRun, engine: Engine) -> None:
    """Save the state of a run; the checkpoint before is kept beside it. All workers call this, the first one writes."""
    tensors = _tensors(run, engine)
    if not run.group.leads:
        return
    document = asdict(run.state) | {GROUP: _group(run, engine)}
    try:
        with run.model.aside():
            store.save(run.state.step, partial(_write, tensors, document))
    except (OSError, SafetensorError, StorageError) as error:
        # The trial itself is fine: it only could not be continued from here.
        log.warning("trial %s: no checkpoint at step %d: %s", run.trial_id, run.state.step, error)


def _write(tensors: dict[str, Tensor], document: dict[str, Any], folder: Path) -> None:
    save_file(tensors, folder / "state.safetensors")
    (folder / "state.json").write_text(json.dumps(document))


def read_checkpoint(store: CheckpointStore, run: TrainingRun, engine: Engine) -> bool:
    """Put a run back to its newest sound checkpoint. All workers call this; the first one reads, and tells the others.

    Returns:
        False where there is none, or one of a group of another kind, which drew other numbers: the run starts from its beginning.
    """
    tensors, document = _read(store) if run.group.leads else (None, None)
    document = run.group.from_leader(document)
    if document is None:
        return False
    if (wrote := document.pop(GROUP, None)) != (now := _group(run, engine)):
        log.warning("trial %s starts afresh: its checkpoint was written by %s, and this is %s", run.trial_id, wrote, now)
        return False
    _restore(run.group.tensors_from_leader(tensors), document, run, engine)
    log.info("trial %s continues at step %d", run.trial_id, run.state.step)
    return True


def _read(store: CheckpointStore) -> tuple[dict[str, Tensor] | None, dict[str, Any] | None]:
    with store.newest() as folder:
        if folder is None:
            return None, None
        return load_file(folder / "state.safetensors"), json.loads((folder / "state.json").read_text())


def _group(run: TrainingRun, engine: Engine) -> dict[str, int]:
    return {"workers": run.group.size, "zero_stage": engine.zero_stage}


def _tensors(run: TrainingRun, engine: Engine) -> dict[str, Tensor]:
    tensors = {f"adapter.{name}": p.detach().clone() for name, p in run.model.trainable().items()}
    tensors |= {f"kept.{name}": p.clone() for name, p in run.kept.items()}
    tensors |= {f"method.{name}": t.detach().clone() for name, t in run.model.method.training_state().items()}
    tensors["generator.dropout"] = _of_workers(run.model.dropout.generator.get_state(), run)
    tensors["generator.global"] = _of_workers(torch.get_rng_state(), run)
    if parameter_device(run).type == "cuda":
        tensors["generator.device"] = _of_workers(torch.cuda.get_rng_state(parameter_device(run)), run)
    for index, values in engine.state().items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in values.items()}
    return tensors


def _of_workers(state: Tensor, run: TrainingRun) -> Tensor:
    """Return the states of all workers' generators, one a row."""
    rows = state.new_zeros(run.group.size, len(state))
    rows[run.group.rank] = state
    return run.group.sum_(rows)


def _restore(tensors: dict[str, Tensor], document: dict[str, Any], run: TrainingRun, engine: Engine) -> None:
    with torch.no_grad():
        for name, parameter in run.model.trainable().items():
            parameter.copy_(tensors[f"adapter.{name}"])
    run.model.method.load_training_state({n.removeprefix("method."): t for n, t in tensors.items() if n.startswith("method.")})
    run.kept = {name.removeprefix("kept."): t.to(parameter_device(run)) for name, t in tensors.items() if name.startswith("kept.")}
    # A generator takes the whole storage behind a tensor, whatever row of it the tensor is.
    generators = {n: t[run.group.rank].clone() for n, t in tensors.items() if n.startswith("generator.")}
    run.model.dropout.generator.set_state(generators["generator.dropout"])
    torch.set_rng_state(generators["generator.global"])
    if "generator.device" in generators:
        torch.cuda.set_rng_state(generators["generator.device"], parameter_device(run))
    for key, value in document.items():
        setattr(run.state, key, value)
    run.state.curves = {name: [(int(step), value) for step, value in points] for name, points in run.state.curves.items()}
    run.state.operations = None if document["operations"] is None else Operations(**document["operations"])
    run.state.best_key = None if document["best_key"] is None else (document["best_key"][0], document["best_key"][1])
    engine.resume(_optimizer_state(tensors), run.state.step)


def _optimizer_state(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = tensor
    return state


def parameter_device(run: TrainingRun) -> torch.device:
    """Return the device that a run trains on."""
    return next(run.base.model.parameters()).device
