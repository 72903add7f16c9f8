"""Result files of HF PEFT's method comparison as references."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.importing.faults import ImportedFileError
from orchestrator.importing.peft_results import read_results
from orchestrator.leaderboard.statistics.intervals import binomial_interval

GOLDEN = Path(__file__).resolve().parents[3] / ".." / "shared" / "golden" / "peft_results"

Write = Callable[..., Path]


def test_a_file_becomes_one_reference_with_its_costs_and_the_interval_of_its_test_split(result_file: Write) -> None:
    (found,) = read_results(result_file()).references
    assert (found.method, found.model, found.task, found.metric) == ("lora/small-rank8", "someone/small", "gsm8k", "accuracy")
    assert found.score == 625 / 1319 and found.n == 1319
    assert found.ci == binomial_interval(625 / 1319, 1319)
    assert (found.trainable, found.adapter_bytes, found.peak_bytes) == (1024, 4096, 2_000_000_000)
    assert found.seconds_per_step == 10.0 / 20
    assert found.source == "lora.json, 2026-01-02"
    assert "one run, seed 0" in found.notes and "peft 0.19.0, torch 2.13.0" in found.notes and "A GPU" in found.notes


def test_files_of_earlier_versions_name_the_memory_after_cuda(result_file: Write) -> None:
    folder = result_file()
    content = json.loads((folder / "lora.json").read_text())
    content["train_info"]["cuda_memory_max"] = content["train_info"].pop("accelerator_memory_max")
    (folder / "lora.json").write_text(json.dumps(content))
    assert read_results(folder).references[0].peak_bytes == 2_000_000_000


def test_a_size_that_was_not_found_out_is_none(result_file: Write) -> None:
    assert read_results(result_file(train_info__file_size=99_999_999)).references[0].adapter_bytes is None


def test_a_score_that_the_test_split_cannot_give_has_no_interval(result_file: Write) -> None:
    (found,) = read_results(result_file(), test_size=1000).references
    assert found.ci is None and found.n is None
    assert any("no share of 1000 examples" in note for note in found.notes)


def test_another_data_set_has_an_interval_only_where_its_size_is_passed(result_file: Write) -> None:
    folder = result_file(meta_info__dataset_info={"elsewhere": None})
    assert read_results(folder).references[0].ci is None
    (sized,) = read_results(folder, task="sums", test_size=1319).references
    assert sized.task == "sums" and sized.ci == binomial_interval(625 / 1319, 1319)


def test_a_metric_that_is_no_proportion_has_no_interval(result_file: Write) -> None:
    metrics = [{"step": 20, "test similarity": 0.5, "drift": 0.1}]
    (found,) = read_results(result_file(train_info__metrics=metrics), test_size=100).references
    assert (found.metric, found.score, found.ci) == ("similarity", 0.5, None)
    assert found.seconds_per_step is None


def test_failed_runs_and_earlier_ones_of_an_experiment_are_left_out_by_name(result_file: Write) -> None:
    result_file("failed.json", train_info__status="canceled", train_info__metrics=[])
    result_file("old.json", run_info__created_at="2025-01-01T00:00:00+00:00")
    found = read_results(result_file("new.json"))
    assert [reference.source for reference in found.references] == ["new.json, 2026-01-02"]
    assert "canceled" in found.left_out["failed.json"] and "new.json" in found.left_out["old.json"]


def test_nothing_but_failed_runs_is_an_error_that_says_so(result_file: Write) -> None:
    with pytest.raises(ImportedFileError, match=r"lora.json: its run ended with the status 'failed'"):
        read_results(result_file(train_info__status="failed", train_info__metrics=[]))


def test_every_faulty_file_is_told_with_line_or_key_and_nothing_is_read(result_file: Write) -> None:
    folder = result_file("good.json")
    (folder / "broken.json").write_text('{\n "run_info": {,\n}')
    (folder / "foreign.json").write_text("[1, 2]")
    result_file("percent.json", train_info__metrics=[{"step": 1, "test accuracy": 47.4}])
    result_file("untested.json", train_info__metrics=[{"step": 1, "train loss": 1.0}])
    result_file("words.json", train_info__num_trainable_params="many")
    with pytest.raises(ImportedFileError) as raised:
        read_results(folder)
    text = str(raised.value)
    assert "broken.json: line 2, column 15: it is no JSON" in text
    assert "foreign.json" in text and "good.json" not in text
    assert "percent.json: train_info.metrics.test accuracy: 47.4 is not a fraction" in text
    assert "untested.json: train_info.metrics: its last entry has no metric that begins with 'test '" in text
    assert "words.json: train_info.num_trainable_params: 'many' is not valid" in text


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999"])
def test_a_score_that_is_not_finite_is_refused(result_file: Write, value: str) -> None:
    folder = result_file()
    text = (folder / "lora.json").read_text()
    (folder / "lora.json").write_text(text.replace(str(625 / 1319), value))
    with pytest.raises(ImportedFileError, match="lora.json"):
        read_results(folder)


def test_deep_nesting_and_large_files_are_refused(result_file: Write) -> None:
    folder = result_file()
    (folder / "deep.json").write_text("[" * 200_000)
    (folder / "large.json").write_bytes(b" " * (8 * 2**20 + 1))
    with pytest.raises(ImportedFileError) as raised:
        read_results(folder)
    assert "deep.json" in str(raised.value) and "large.json: it has more than 8,388,608 bytes" in str(raised.value)


def test_a_folder_without_results_is_refused_with_the_fix(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ImportedFileError, match="Fix: pass the folder `results`"):
            read_results(folder)


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden files are not part of a clone")
def test_every_golden_file_is_read_and_the_first_ten_lie_within_the_sampling_error_of_the_first() -> None:
    found = read_results(GOLDEN)
    assert len(found.references) == len(list(GOLDEN.glob("*.json"))) and not found.left_out
    assert all(reference.ci is not None and reference.trainable for reference in found.references)
    best, *rest = sorted(found.references, key=lambda reference: -reference.score)
    assert best.ci is not None
    assert all(other.ci is not None and other.ci[1] > best.ci[0] for other in rest[:9])
