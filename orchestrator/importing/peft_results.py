"""Result files of HF PEFT's method comparison: one JSON document for each run, with `run_info`, `train_info` and `meta_info`.

Source of the format: huggingface/peft, method_comparison/MetaMathQA/utils.py, `log_results`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from orchestrator.importing.faults import ImportedFileError
from orchestrator.importing.files import text_of
from orchestrator.importing.imported import Imported
from orchestrator.importing.proportion import interval_of
from orchestrator.leaderboard.analysis import Reference
from search_spaces.errors import Fault
from search_spaces.faults import faults_of

FILES = 2000
"""Files that one import reads."""
TEST_SIZES: Mapping[str, int] = {"gsm8k": 1319}
"""Test examples of the data sets that the comparison scores on, which its files do not tell (openai/gsm8k, split `test`, of `main`)."""
TEST = "test "
"""What the names of test metrics start with."""
UNKNOWN_BYTES = 99_999_999
"""What stands for a file size that could not be found out."""

Text = Annotated[str, Field(min_length=1, max_length=500)]
Whole = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class _TrainConfig(_Part):
    model_id: Text
    seed: int | None = None


class _RunInfo(_Part):
    created_at: Text
    experiment_name: Text
    train_config: _TrainConfig


class _TrainInfo(_Part):
    status: Text
    metrics: tuple[dict[str, float], ...]
    num_trainable_params: Whole | None = None
    file_size: Whole | None = None
    memory_max: Whole | None = Field(default=None, validation_alias=AliasChoices("accelerator_memory_max", "cuda_memory_max"))


class _MetaInfo(_Part):
    dataset_info: Annotated[dict[Text, Any], Field(min_length=1)]
    package_info: dict[str, str | None] = {}
    system_info: dict[str, str | None] = {}


class ResultFile(_Part):
    """One file, as far as it is read."""

    run_info: _RunInfo
    train_info: _TrainInfo
    meta_info: _MetaInfo


def read_results(folder: Path, task: str | None = None, test_size: int | None = None) -> Imported:
    """Read all `*.json` files of a folder; of several of one experiment and model, the one that was made last.

    Args:
        folder: such as `method_comparison/MetaMathQA/results`.
        task: what the scores are on; None takes the data set that each file names last, which is the one for evaluation.
        test_size: number of test examples; None takes what is known of the data set.

    Raises:
        ImportedFileError: the folder holds no such file, or a file is not of this format.
    """
    files = _files(folder)
    faults: list[Fault] = []
    results: dict[str, ResultFile] = {}
    for path in files:
        try:
            results[path.name] = _parsed(path)
        except ImportedFileError as error:
            faults += [Fault(f"{path.name}: {fault.path}" if fault.path else path.name, fault.message, fault.fix) for fault in error.faults]
    if faults:
        raise ImportedFileError(str(folder), faults)
    left_out = dict(_left_out(results))
    kept = {name: result for name, result in results.items() if name not in left_out}
    references = tuple(ref for name, result in kept.items() for ref in _references(name, result, task, test_size))
    if not references:
        raise ImportedFileError(str(folder), [Fault(name, reason) for name, reason in left_out.items()])
    return Imported("peft-results", references, left_out)


def _files(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.glob("*.json") if path.is_file()) if folder.is_dir() else []
    if not found:
        reason = "it holds no *.json file" if folder.is_dir() else "there is no such folder"
        raise ImportedFileError(str(folder), [Fault("", reason, "pass the folder `results` of a method comparison of HF PEFT")])
    if len(found) > FILES:
        raise ImportedFileError(str(folder), [Fault("", f"it holds {len(found):,} files, more than {FILES:,}", "import parts of it")])
    return found


def _parsed(path: Path) -> ResultFile:
    try:
        content = json.loads(text_of(path))
    except json.JSONDecodeError as error:
        raise ImportedFileError(path.name, [Fault(f"line {error.lineno}, column {error.colno}", f"it is no JSON: {error.msg}")]) from error
    except RecursionError as error:
        raise ImportedFileError(path.name, [Fault("", "it is nested too deeply")]) from error
    try:
        result = ResultFile.model_validate(content)
    except ValidationError as error:
        raise ImportedFileError(path.name, faults_of(error)) from error
    if faults := list(_impossible(result)):
        raise ImportedFileError(path.name, faults)
    return result


def _impossible(result: ResultFile) -> Iterator[Fault]:
    if result.train_info.status == "success":
        if not _scores(result):
            yield Fault("train_info.metrics", f"its last entry has no metric that begins with {TEST!r}")
        for metric, score in _scores(result).items():
            if not -1 <= score <= 1:
                yield Fault(f"train_info.metrics.{TEST}{metric}", f"{score!r} is not a fraction. Valid: -1 to 1")


def _scores(result: ResultFile) -> dict[str, float]:
    last = result.train_info.metrics[-1] if result.train_info.metrics else {}
    return {name.removeprefix(TEST): value for name, value in last.items() if name.startswith(TEST)}


def _left_out(results: Mapping[str, ResultFile]) -> Iterator[tuple[str, str]]:
    newest: dict[tuple[str, str], str] = {}
    for name, result in sorted(results.items(), key=lambda item: item[1].run_info.created_at):
        if result.train_info.status != "success":
            yield name, f"its run ended with the status {result.train_info.status!r}"
            continue
        key = (result.run_info.experiment_name, result.run_info.train_config.model_id)
        if key in newest:
            yield newest[key], f"{name} is a later result of the same experiment"
        newest[key] = name


def _references(name: str, result: ResultFile, task: str | None, test_size: int | None) -> Iterator[Reference]:
    run, train = result.run_info, result.train_info
    evaluated = task or list(result.meta_info.dataset_info)[-1]
    n = test_size or TEST_SIZES.get(evaluated)
    for metric, score in _scores(result).items():
        ci = interval_of(metric, score, n)
        doubt: tuple[str, ...] = ()
        if ci and n and abs(score * n - round(score * n)) >= 1e-6:
            ci, doubt = None, (f"no share of {n} examples: no interval",)
        yield Reference(
            method=run.experiment_name,
            model=run.train_config.model_id,
            task=evaluated,
            metric=metric,
            score=score,
            n=n if ci else None,
            ci=ci,
            trainable=train.num_trainable_params,
            seconds_per_step=_seconds_per_step(train),
            peak_bytes=train.memory_max,
            adapter_bytes=None if train.file_size == UNKNOWN_BYTES else train.file_size,
            source=f"{name}, {run.created_at[:10]}",
            notes=(*_notes(result), *doubt),
        )


def _seconds_per_step(train: _TrainInfo) -> float | None:
    """Return the mean over the training steps; the run's whole time holds its evaluation as well."""
    timed = [entry for entry in train.metrics if "train time" in entry and "step" in entry]
    steps = max((entry["step"] for entry in timed), default=0)
    return sum(entry["train time"] for entry in timed) / steps if steps > 0 else None


def _notes(result: ResultFile) -> Iterator[str]:
    seed, info = result.run_info.train_config.seed, result.meta_info
    yield "HF PEFT's method comparison"
    yield "one run" if seed is None else f"one run, seed {seed}"
    packages = [(name, info.package_info.get(f"{name}-version")) for name in ("peft", "transformers", "torch")]
    if versions := ", ".join(f"{name} {version}" for name, version in packages if version):
        yield versions
    if accelerator := info.system_info.get("accelerator"):
        yield accelerator
