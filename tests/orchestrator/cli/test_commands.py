"""Commands as a user types them: what they print, what they refuse, and with which exit code."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]
SHARED = Path(__file__).resolve().parents[3].parent / "shared"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not beside this clone")
BUDGETS = ("plan", "quickstart", "--set", "models=[micro-llama]", "--set", "budgets={counts: [300, 5_000]}")
ROW = {
    "id": "1",
    "title": "T",
    "context": "Ada lives in Rome.",
    "question": "Where?",
    "answers": {"text": ["Rome"], "answer_start": [13]},
}


def test_help_lists_every_command(fairsweep: Command) -> None:
    done = fairsweep("--help")
    names = "plan run extend submit status logs stop doctor clean leaderboard audit runs show appendix import export ui"
    names += " methods tasks models studies count score prompt"
    assert done.returncode == 0 and all(f"\n  {name} " in done.stdout for name in names.split())


def test_stdout_carries_the_answer_alone_whatever_libraries_print(tmp_path: Path) -> None:
    code = "import os, sys; from orchestrator.output import answer_stream\n"
    code += "with answer_stream() as answer: print('noise'); os.system('echo child'); os.write(1, b'native'); answer.write('answer')\n"
    code += "print('after')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "answerafter\n"
    assert all(word in done.stderr for word in ("noise", "child", "native"))


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, orchestrator.cli; print([m for m in ('torch', 'ray', 'mlflow', 'transformers', 'pandas', 'rich') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_plan_by_budgets(fairsweep: Command) -> None:
    command = (*BUDGETS, "--set", "methods={lora: {}, loretta_rep: {bottleneck: 4}, ia3: {}}", "--set", "targets=[q, v]")
    document = json.loads(fairsweep(*command, "--json").stdout)
    (rung,) = document["methods"]["lora"]["capacities"]
    assert (rung["config"], rung["budget"], rung["trainable"], rung["within_tolerance"]) == ({"rank": 2}, 300, 256, False)
    assert {refusal["label"]: refusal["capacity"] for refusal in document["refused"]}["lora"] == {"budget": 5000}
    shown = fairsweep(*command).stdout
    assert "-14.7%" in shown and "off its budget" in shown and "above the largest size" in shown


def test_a_capacity_beside_budgets_is_refused(fairsweep: Command) -> None:
    fairsweep(*BUDGETS, "--set", "methods={lora: {rank: 4}}").refuses("methods.lora.rank", "`budgets` solves rank of lora")


def test_plan_of_the_quickstart_holds(fairsweep: Command) -> None:
    done = fairsweep("plan", "quickstart", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 0 and document["certificate"]["ok"]
    assert document["phases"] == {"select": 16, "report": 13} and document["trials"] == 29
    assert not document["refused"]


def test_a_method_that_its_definition_does_not_cover_is_a_refused_row(fairsweep: Command) -> None:
    done = fairsweep("plan", "quickstart", "--json", "--set", "targets=[q, v]")
    refusals = json.loads(done.stdout)["refused"]
    assert [r["label"] for r in refusals] == ["lorta"] and "grouped-query" in refusals[0]["reason"]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("methods={lroa: {rank: [4]}}", ["methods.lroa", "Did you mean 'lora'"]),
        ("tasks=[sqaud]", ["tasks", "Did you mean 'squad'"]),
        ("models=[smollm2]", ["models", "smollm2-135m"]),
        ("learning_rates=[1]", ["learning_rates"]),
        ("targets=[q, z]", ["targets", "'z'"]),
        ("grid.learning_rate=[fast]", ["grid.learning_rate", "fast"]),
        ("grid.learning_rate=[]", ["grid.learning_rate"]),
        ("methods={lora: {rank: [10000]}}", ["methods.lora.rank", "10000", "576"]),
        ("methods={lora: {rank: [4], learning_rate: 0.1}}", ["methods.lora.learning_rate", "grid"]),
        ("data.source=/nowhere", ["data.source", "/nowhere"]),
        ("seeds={select: [0], report: [0, 1]}", ["seeds", "0"]),
    ],
)
def test_a_fault_of_the_sweep_file_is_one_clear_message(fairsweep: Command, override: str, words: list[str]) -> None:
    fairsweep("plan", "quickstart", "--set", override).refuses(*words)


def test_all_faults_are_listed_together(fairsweep: Command) -> None:
    done = fairsweep("plan", "quickstart", "--set", "methods={lroa: {rank: [4]}}", "--set", "tasks=[sqaud]", "--set", "training.clip=-1")
    done.refuses("3 faults", "methods.lroa", "tasks", "training.clip")


def test_debug_shows_where_an_error_came_from(fairsweep: Command) -> None:
    done = fairsweep("--debug", "plan", "quickstart", "--set", "tasks=[sqaud]")
    assert done.returncode == 2 and "Traceback" in done.stderr


def write_task(folder: Path, lines: list[str]) -> None:
    (folder / "squad").mkdir(parents=True)
    good = json.dumps(ROW)
    (folder / "squad" / "train.jsonl").write_text("\n".join([good, *lines]) + "\n")
    (folder / "squad" / "validation.jsonl").write_text(good + "\n")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{not json", ["train.jsonl", "2", "JSON"]),
        (json.dumps({k: v for k, v in ROW.items() if k != "context"}), ["train.jsonl", "2", "context"]),
    ],
)
def test_a_malformed_line_is_named_by_file_line_and_field(fairsweep: Command, tmp_path: Path, line: str, words: list[str]) -> None:
    write_task(tmp_path / "data", [line])
    fairsweep("plan", "quickstart", "--set", "data={source: data, train: 1, selection: 1, test: 1}").refuses(*words)


def test_a_model_that_cannot_be_loaded_without_a_network(fairsweep: Command) -> None:
    fairsweep("plan", "quickstart", "--set", "models=[no-such/model]").refuses("no-such/model", "local folder")


def test_a_sweep_that_needs_more_than_the_machine_has(fairsweep: Command) -> None:
    done = fairsweep(
        "run",
        "quickstart",
        "--set",
        "models=[micro-llama]",
        "--set",
        "methods={lora: {rank: [2]}}",
        "--set",
        "resources.cpus=4096",
    )
    done.refuses("4096", "resources.cpus")


def test_unknown_sweeps_and_studies_get_a_suggestion(fairsweep: Command) -> None:
    fairsweep("plan", "quikstart").refuses("Did you mean 'quickstart'")
    fairsweep("audit", "none").refuses("holds no sweep yet", "--tracking-uri")
    fairsweep("clean", "none").refuses("none")


def test_a_busy_port_is_named(fairsweep: Command) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        fairsweep("ui", "--port", str(port)).refuses(str(port), "--port")


def test_score_prints_the_official_metric(fairsweep: Command, tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text('{"prediction": "the Rome!", "references": ["Rome"]}\n{"prediction": "Paris", "references": ["Rome"]}\n')
    assert json.loads(fairsweep("score", "squad", str(file), "--json").stdout) == {
        "task": "squad",
        "n": 2,
        "metrics": {"em": 0.5, "f1": 0.5},
    }
    rows = fairsweep("score", "squad", str(file), "--rows").stdout.splitlines()
    assert [json.loads(row) for row in rows] == [{"em": 1.0, "f1": 1.0}, {"em": 0.0, "f1": 0.0}]


def test_score_of_a_correlation(fairsweep: Command, tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text("".join(json.dumps({"prediction": p, "references": r}) + "\n" for p, r in ((1.0, 1), (2.5, 2), (3, 4.0))))
    document = json.loads(fairsweep("score", "stsb", str(file), "--json").stdout)
    assert (document["n"], document["metrics"]["spearman"]) == (3, pytest.approx(1.0))
    fairsweep("score", "stsb", str(file), "--rows").refuses("not scored row by row")
    file.write_text('{"prediction": 1, "references": 2}\n{"prediction": 1, "references": 3}\n')
    assert json.loads(fairsweep("score", "stsb", str(file), "--json").stdout)["metrics"] == {"pearson": None, "spearman": None}
    file.write_text('{"prediction": 1, "references": 2}\n{"prediction": "x", "references": 3}\n')
    fairsweep("score", "stsb", str(file)).refuses("line 2", "'x' is not a number")


@needs_shared
@pytest.mark.parametrize(
    ("task", "name"),
    [
        *((task, task) for task in ("squad", "drop", "record", "boolq", "copa")),
        ("squad", "mezo_metric_squad"),
        ("drop_mezo", "mezo_metric_drop"),
    ],
)
def test_score_reproduces_the_golden_scores(fairsweep: Command, task: str, name: str) -> None:
    file = SHARED / "golden" / f"{name}.jsonl"
    expected = [json.loads(line)["expected"] for line in file.read_text().splitlines()]
    found = [json.loads(row) for row in fairsweep("score", task, str(file), "--rows").stdout.splitlines()]
    assert len(found) == len(expected)
    for row, wanted in zip(found, expected, strict=True):
        assert {key: row[key] for key in wanted} == pytest.approx(wanted, abs=1e-9)


@needs_shared
@pytest.mark.parametrize("task", ["sst2", "mrpc", "cola", "qnli", "rte", "stsb"])
def test_score_reproduces_the_golden_batches(fairsweep: Command, tmp_path: Path, task: str) -> None:
    names = {"matthews_correlation": "mcc", "spearmanr": "spearman"}
    golden, file = SHARED / "golden" / f"glue_{task}.jsonl", tmp_path / "pairs.jsonl"
    by_line = [json.loads(row) for row in fairsweep("score", task, str(golden), "--rows").stdout.splitlines()]
    for line, at_once in zip(golden.read_text().splitlines(), by_line, strict=True):
        batch = json.loads(line)
        pairs = zip(batch["prediction"], batch["references"], strict=True)
        file.write_text("".join(json.dumps({"prediction": given, "references": right}) + "\n" for given, right in pairs))
        document = json.loads(fairsweep("score", task, str(file), "--json").stdout)
        expected = {names.get(metric, metric): value for metric, value in batch["expected"].items()}
        assert document["metrics"] == at_once == pytest.approx(expected, abs=1e-9)
        assert document["n"] == len(batch["prediction"])


@needs_shared
@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("squad", "SQuAD"),
        ("drop", "DROP"),
        ("record", "ReCoRD"),
        ("sst2", "SST2"),
        ("rte", "RTE"),
        ("boolq", "BoolQ"),
        ("copa", "Copa"),
        ("drop_mezo", "DROP"),
    ],
)
def test_prompt_reproduces_the_golden_prompts(fairsweep: Command, tmp_path: Path, task: str, name: str) -> None:
    golden = [row for row in map(json.loads, (SHARED / "golden" / "prompts.jsonl").read_text().splitlines()) if row["task"] == name]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row["row"]) + "\n" for row in golden))
    found = [json.loads(line) for line in fairsweep("prompt", task, str(file)).stdout.splitlines()]
    assert [row["prompt"] for row in found] == [row["encode"] for row in golden]
    for row, wanted in zip(found, golden, strict=True):
        if "train_text" in wanted:
            assert row["prompt"] + row["target"] == wanted["train_text"]
        else:
            assert row["options"] == wanted["final_prompts"]


def test_methods_and_plans_solve_budgets_alike(fairsweep: Command) -> None:
    """2,048 parameters are the most that rank 16 gives; 2,100 is within the tolerance of a sweep file."""
    command = ("methods", "--model", "micro-llama", "--targets", "q,v", "--method", "lora", "--budget", "2100", "--json")
    bought = [json.loads(fairsweep(*command, *more).stdout)[0]["budgets"][0] for more in ((), ("--tolerance", "0.01"))]
    assert [fit["capacity"] for fit in bought] == [{"rank": 16}, None]
    plan = ("plan", "quickstart", "--set", "models=[micro-llama]", "--set", "methods={lora: {}}", "--set", "targets=[q, v]", "--json")
    (rung,) = json.loads(fairsweep(*plan, "--set", "budgets={counts: [2100]}").stdout)["methods"]["lora"]["capacities"]
    assert rung["config"] == {"rank": 16}


def test_a_plan_names_models_adapters_and_refusals_once(fairsweep: Command) -> None:
    methods = "methods={lora: {rank: [2]}, bitfit: {}}"
    command = ("plan", "quickstart", "--set", "models=[micro-llama, smollm2-135m]", "--set", methods, "--set", "tasks=[squad, drop]")
    shown = fairsweep(*command).stdout
    assert "model" in shown and "adapter" in shown
    lines = [line for line in shown.splitlines() if line.startswith("refused: ")]
    assert len(lines) == 2 and lines[0].startswith("refused: bitfit on squad, drop with ")
