"""Commands as a user types them: what they print, what they refuse, and with which exit code."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestrator.cli import cli
from orchestrator.counting import count_document
from trainers import registry


@dataclass
class Done:
    """What a command left."""

    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Done]
SHARED = Path(__file__).resolve().parents[2].parent / "shared"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not beside this clone")
ROW = {
    "id": "1",
    "title": "T",
    "context": "Ada lives in Rome.",
    "question": "Where?",
    "answers": {"text": ["Rome"], "answer_start": [13]},
}


@pytest.fixture
def fairsweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command in an empty folder, in this process: a new one costs seconds of imports each time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(*arguments: str) -> Done:
        result = CliRunner().invoke(cli, list(arguments), prog_name="fairsweep")
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return Done(result.exit_code, result.stdout, result.stderr)

    return run


def refused(done: Done, *words: str) -> None:
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert not done.stdout and "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


def test_help_lists_every_command(fairsweep: Command) -> None:
    done = fairsweep("--help")
    names = "plan run leaderboard audit runs show clean methods tasks models studies count score prompt export ui"
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


@pytest.mark.parametrize(("method", "rank", "expected"), [("lorta", 4, 17_160), ("lora", 4, 2_097_152)])
def test_count_on_llama2_7b(fairsweep: Command, method: str, rank: int, expected: int) -> None:
    command = ("count", "--model", "llama2-7b", "--method", method, "--set", f"rank={rank}", "--targets", "q,v", "--json")
    document = json.loads(fairsweep(*command).stdout)
    assert document["trainable"] == document["adapter"] == document["counts"]["peak"] == expected
    assert document["head"] == 0 and document["bytes"] == 4 * expected and sum(document["parts"].values()) == expected


@pytest.mark.parametrize(
    ("method", "arguments", "expected"),
    [
        ("full", [], {"adapter": 9_328, "targets": []}),
        ("lora", ["--set", "rank=2", "--also-train", "norms"], {"adapter": 256 + 80, "targets": ["q", "v"]}),
        ("prefix", ["--set", "tokens=3", "--targets", "q"], {"adapter": 192, "targets": ["k", "v"]}),
        ("ia3", [], {"adapter": 128, "targets": ["k", "v", "down"]}),
        ("peft/ia3", [], {"adapter": 64, "targets": ["q", "v"]}),
        ("loretta_rep", ["--set", "rank=1"], {"adapter": 128, "targets": ["q", "v"], "bottleneck": 8}),
    ],
)
def test_count_takes_every_method_and_names_what_it_acts_on(
    fairsweep: Command, method: str, arguments: list[str], expected: dict[str, object]
) -> None:
    document = json.loads(fairsweep("count", "--model", "micro-llama", "--method", method, *arguments, "--json").stdout)
    found = {"adapter": document["adapter"], **document["config"]}
    assert {key: found[key] for key in expected} == expected
    assert document["head"] == 0 and sum(document["parts"].values()) == document["trainable"]


@pytest.mark.parametrize("method", registry.method_names())
def test_count_accepts_every_native_method(method: str) -> None:
    capacity = [f"{key}=2" for key in registry.method_type(method).card.capacity]
    document = count_document("micro-bert", method, capacity, [], ["norms"])
    assert document["adapter"] > 0 and document["trainable"] == document["adapter"] + document["head"] == sum(document["parts"].values())
    assert document["config"]["also_train"] == ["norms"]


def test_count_refuses_what_cannot_be_counted(fairsweep: Command) -> None:
    count = ("count", "--model", "micro-llama", "--method")
    refused(fairsweep(*count, "lora"), "rank", "--set rank=8")
    refused(fairsweep(*count, "lora", "--set", "rnk=8"), "rnk", "Did you mean 'rank'")
    refused(fairsweep(*count, "lora", "--set", "rank=99"), "99", "1 to 16")
    refused(fairsweep(*count, "bitfit"), "no bias vectors")
    assert fairsweep(*count, "lora", "--set", "rank=1", "--also-train", "heads").returncode == 2


def test_methods_on_a_model_shows_sizes_and_what_budgets_buy(fairsweep: Command) -> None:
    command = ("methods", "--model", "micro-llama", "--targets", "q,v", "--budget", "300", "--budget", "9_000")
    only = [argument for name in ("lora", "full", "bitfit", "melora") for argument in ("--method", name)]
    rows = {row["name"]: row for row in json.loads(fairsweep(*command, *only, "--json").stdout)}
    assert set(rows) == {"lora", "full", "bitfit", "melora"}
    lora = rows["lora"]
    assert {"name", "family", "source", "mergeable", "packable", "exports_lora", "capacity"} <= set(lora)
    assert (lora["smallest"], lora["step"]) == ({"capacity": {"rank": 1}, "trainable": 128}, 128)
    near, far = lora["budgets"]
    assert (near["capacity"], near["trainable"], near["off"]) == ({"rank": 2}, 256, pytest.approx(256 / 300 - 1))
    assert (near["next"], near["step"], near["reached"]) == ({"capacity": {"rank": 3}, "trainable": 384}, 128, True)
    assert rows["full"]["fixed"] and not lora["fixed"]
    assert (far["capacity"], far["trainable"], far["reached"], far["nearest"]["trainable"]) == (None, None, False, 2048)
    assert "above the largest size" in far["words"] and "size is fixed" in rows["full"]["budgets"][0]["words"]
    assert "no bias vectors" in rows["bitfit"]["refused"] and rows["bitfit"]["smallest"] is None
    shown = fairsweep(*command, *only).stdout
    assert "rank=2: 256 (-14.7%)" in shown and "none (2,048 at most)" in shown and "bitfit is not applicable" in shown


def test_methods_of_hf_peft_are_sized_when_named(fairsweep: Command) -> None:
    (row,) = json.loads(fairsweep("methods", "--model", "micro-llama", "--method", "peft/vera", "--budget", "100", "--json").stdout)
    assert (row["budgets"][0]["capacity"], row["step"]) == ({"r": 9}, 4)


def test_sizes_need_a_model(fairsweep: Command) -> None:
    refused(fairsweep("methods", "--budget", "300"), "--model")
    refused(fairsweep("methods", "--model", "micro-lama"), "Did you mean 'micro-llama'")
    refused(fairsweep("methods", "--method", "lroa"), "Did you mean 'lora'")


BUDGETS = ("plan", "quickstart", "--set", "models=[micro-llama]", "--set", "budgets={counts: [300, 5_000]}")


def test_a_plan_by_budgets(fairsweep: Command) -> None:
    command = (*BUDGETS, "--set", "methods={lora: {}, loretta_rep: {bottleneck: 4}, ia3: {}}", "--set", "targets=[q, v]")
    document = json.loads(fairsweep(*command, "--json").stdout)
    (rung,) = document["methods"]["lora"]["capacities"]
    assert (rung["config"], rung["budget"], rung["trainable"], rung["within_tolerance"]) == ({"rank": 2}, 300, 256, False)
    assert {refusal["label"]: refusal["capacity"] for refusal in document["refused"]}["lora"] == {"budget": 5000}
    shown = fairsweep(*command).stdout
    assert "-14.7%" in shown and "off its budget" in shown and "above the largest size" in shown


def test_a_capacity_beside_budgets_is_refused(fairsweep: Command) -> None:
    refused(fairsweep(*BUDGETS, "--set", "methods={lora: {rank: 4}}"), "methods.lora.rank", "`budgets` solves rank of lora")


def test_plan_of_the_quickstart_holds(fairsweep: Command) -> None:
    done = fairsweep("plan", "quickstart", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 0 and document["certificate"]["ok"]
    assert document["phases"] == {"select": 12, "report": 9} and document["trials"] == 21
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
    refused(fairsweep("plan", "quickstart", "--set", override), *words)


def test_all_faults_are_listed_together(fairsweep: Command) -> None:
    done = fairsweep("plan", "quickstart", "--set", "methods={lroa: {rank: [4]}}", "--set", "tasks=[sqaud]", "--set", "training.clip=-1")
    refused(done, "3 faults", "methods.lroa", "tasks", "training.clip")


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
    refused(fairsweep("plan", "quickstart", "--set", "data={source: data, train: 1, selection: 1, test: 1}"), *words)


def test_a_model_that_cannot_be_loaded_without_a_network(fairsweep: Command) -> None:
    refused(fairsweep("plan", "quickstart", "--set", "models=[no-such/model]"), "no-such/model", "local folder")


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
    refused(done, "4096", "resources.cpus")


def test_unknown_sweeps_and_studies_get_a_suggestion(fairsweep: Command) -> None:
    refused(fairsweep("plan", "quikstart"), "Did you mean 'quickstart'")
    refused(fairsweep("audit", "none"), "holds no sweep yet", "--tracking-uri")
    refused(fairsweep("clean", "none"), "none")


def test_a_busy_port_is_named(fairsweep: Command) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        refused(fairsweep("ui", "--port", str(port)), str(port), "--port")


@pytest.mark.parametrize(("kind", "name"), [("tasks", "drop"), ("models", "llama2-7b"), ("studies", "quickstart")])
def test_listings(fairsweep: Command, kind: str, name: str) -> None:
    assert name in {row["name"] for row in json.loads(fairsweep(kind, "--json").stdout)}
    assert name in fairsweep(kind).stdout


def test_methods_lists_native_and_bridged_ones_with_the_promised_keys(fairsweep: Command) -> None:
    rows = {row["name"]: row for row in json.loads(fairsweep("methods", "--json").stdout)}
    assert {"lora", "lorta", "full", "peft/lora", "peft/vera", "peft/ia3"} <= set(rows)
    assert {"name", "family", "source", "mergeable", "packable", "exports_lora", "capacity"} <= set(rows["lora"])


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
    refused(fairsweep("score", "stsb", str(file), "--rows"), "not scored row by row")
    file.write_text('{"prediction": 1, "references": 2}\n{"prediction": 1, "references": 3}\n')
    assert json.loads(fairsweep("score", "stsb", str(file), "--json").stdout)["metrics"] == {"pearson": None, "spearman": None}
    file.write_text('{"prediction": 1, "references": 2}\n{"prediction": "x", "references": 3}\n')
    refused(fairsweep("score", "stsb", str(file)), "line 2", "'x' is not a number")


def test_count_takes_the_head_of_a_task(fairsweep: Command) -> None:
    command = ("count", "--model", "roberta-base", "--method", "lora", "--set", "rank=8", "--json")
    found = {task: json.loads(fairsweep(*command, "--task", task).stdout) for task in ("sst2", "stsb")}
    assert {task: document["head"] for task, document in found.items()} == {"sst2": 592_130, "stsb": 591_361}
    assert {document["adapter"] for document in found.values()} == {294_912}
    refused(fairsweep("count", "--model", "micro-llama", "--method", "lora", "--set", "rank=8", "--task", "stsb"), "no form for causal")


@needs_shared
@pytest.mark.parametrize("task", ["squad", "drop", "record"])
def test_score_reproduces_the_golden_scores(fairsweep: Command, task: str) -> None:
    file = SHARED / "golden" / f"{task}.jsonl"
    expected = [json.loads(line)["expected"] for line in file.read_text().splitlines()]
    found = [json.loads(row) for row in fairsweep("score", task, str(file), "--rows").stdout.splitlines()]
    assert len(found) == len(expected)
    for row, wanted in zip(found, expected, strict=True):
        assert {key: row[key] for key in wanted} == pytest.approx(wanted, abs=1e-9)


@needs_shared
@pytest.mark.parametrize(("task", "name"), [("squad", "SQuAD"), ("drop", "DROP"), ("record", "ReCoRD"), ("sst2", "SST2")])
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
            assert row["options"] is not None and wanted["verbalized"][0] in row["options"]
            assert len(row["options"]) == len(wanted["candidates"])


def test_several_methods_are_counted_side_by_side(fairsweep: Command) -> None:
    command = ("count", "--model", "micro-llama", "--method", "lora", "--method", "melora", "--set", "rank=2", "--set", "blocks=4")
    lora, melora = json.loads(fairsweep(*command, "--json").stdout)
    assert (lora["method"], lora["config"]["rank"], "blocks" in lora["config"]) == ("lora", 2, False)
    assert (melora["method"], melora["config"]["blocks"]) == ("melora", 4)
    shown = fairsweep(*command).stdout
    assert "blocks 4" in shown and f"{lora['adapter']:,}" in shown
    refused(fairsweep(*command, "--set", "blcks=2"), "blcks", "Did you mean 'blocks'")


def test_methods_and_plans_solve_budgets_alike(fairsweep: Command) -> None:
    """2,048 parameters are the most that rank 16 gives; 2,100 is within the tolerance of a sweep file."""
    command = ("methods", "--model", "micro-llama", "--targets", "q,v", "--method", "lora", "--budget", "2100", "--json")
    bought = [json.loads(fairsweep(*command, *more).stdout)[0]["budgets"][0] for more in ((), ("--tolerance", "0.01"))]
    assert [fit["capacity"] for fit in bought] == [{"rank": 16}, None]
    plan = ("plan", "quickstart", "--set", "models=[micro-llama]", "--set", "methods={lora: {}}", "--set", "targets=[q, v]", "--json")
    (rung,) = json.loads(fairsweep(*plan, "--set", "budgets={counts: [2100]}").stdout)["methods"]["lora"]["capacities"]
    assert rung["config"] == {"rank": 16}


def test_sizes_of_variants(fairsweep: Command) -> None:
    command = ("methods", "--model", "micro-llama", "--method", "lora", "--method", "loretta_rep", "--set", "bottleneck=4", "--json")
    lora, loretta = json.loads(fairsweep(*command).stdout)
    assert (lora["smallest"]["capacity"], loretta["smallest"]["capacity"]) == ({"rank": 1}, {"rank": 1, "bottleneck": 4})
    refused(fairsweep("methods", "--model", "micro-llama", "--method", "lora", "--set", "bttleneck=4"), "bttleneck")


def test_a_plan_names_models_adapters_and_refusals_once(fairsweep: Command) -> None:
    methods = "methods={lora: {rank: [2]}, bitfit: {}}"
    command = ("plan", "quickstart", "--set", "models=[micro-llama, smollm2-135m]", "--set", methods, "--set", "tasks=[squad, drop]")
    shown = fairsweep(*command).stdout
    assert "model" in shown and "adapter" in shown
    lines = [line for line in shown.splitlines() if line.startswith("refused: ")]
    assert len(lines) == 2 and lines[0].startswith("refused: bitfit on squad, drop with ")


def test_empty_and_automatic_settings_are_shown(fairsweep: Command) -> None:
    shown = " ".join(fairsweep("methods", "--method", "cp", "--method", "full").stdout.split())
    assert "rows []" in shown and "[]" in shown
