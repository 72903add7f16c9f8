"""Every fault of a sweep file: under its key path, with the value, what is valid, and the fix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from search_spaces.errors import Fault, SpecError
from search_spaces.loading import load_spec, read_spec

FaultsOf = Callable[..., dict[str, str]]


@pytest.mark.parametrize(
    ("override", "path", "words"),
    [
        # Unknown keys, with the nearest valid one.
        ("trainning={steps: 3}", "trainning", "Did you mean 'training'?"),
        ("model={id: x, revsion: y}", "model.revsion", "Did you mean 'revision'?"),
        ("data.trian=3", "data.trian", "Did you mean 'train'?"),
        ("training.batchsize=3", "training.batchsize", "Did you mean 'batch_size'"),
        ("training.checkpoint={besst: loss}", "training.checkpoint.besst", "Did you mean 'best'?"),
        ("seeds.slect=[1]", "seeds.slect", "Did you mean 'select'?"),
        ("resources.cpu=1", "resources.cpu", "Did you mean"),
        ("search.algoritm=grid", "search.algoritm", "Did you mean 'algorithm'?"),
        ("grid.learning_rte=[1]", "grid.learning_rte", "Did you mean 'learning_rate'"),
        ("tasks={squad: {dta: {}}}", "tasks.squad.dta", "Did you mean 'data'?"),
        # Keys in the wrong place.
        ("epochs=3", "epochs", "training: {epochs: ...}"),
        ("learning_rate=[1]", "learning_rate", "grid: {learning_rate: [...]}"),
        ("training.learning_rate=0.1", "training.learning_rate", "grid: {learning_rate: [...]}"),
        # Hyper-parameters under a method: one for all.
        ("methods.lora.learning_rate=1e-4", "methods.lora.learning_rate", "grid: {learning_rate: [...]}"),
        ("methods.lora.dropout=0.1", "methods.lora.dropout", "grid: {dropout: [...]}"),
        ("methods.lora.epochs=3", "methods.lora.epochs", "one for all methods"),
        ("methods.lora.batch_size=3", "methods.lora.batch_size", "grid: {batch_size: [...]}"),
        ("methods.lora.weight_decay=0.1", "methods.lora.weight_decay", "one for all methods"),
        ("methods.lora.max_length=10", "methods.lora.max_length", "training: {max_length: ...}"),
        ("methods.lora.lr=1", "methods.lora.lr", "grid: {learning_rate: [...]}"),
        ("methods.lora.scale=2", "methods.lora.scale", "grid: {scale: [...]}"),
        ("methods.lora.alpha=16", "methods.lora.alpha", "grid: {scale: [...]}"),
        ("methods.lora.lora_alpha=16", "methods.lora.lora_alpha", "alpha is a learning rate in disguise"),
        ("methods.lora.target_modules=[q]", "methods.lora.target_modules", "targets: [...]"),
        ("methods.lora.seed=1", "methods.lora.seed", "seeds: {select"),
        ("methods.lora.optimizer=3", "methods.lora.optimizer", "3 is not valid"),
        # Methods.
        ("methods={}", "methods", "no method is listed"),
        ("methods={base: {}}", "methods", "no method is listed"),
        ("methods.base={rank: 3}", "methods.base", "takes no keys"),
        ("methods={x: {method: base}}", "methods.x.method", "on every board"),
        ("methods={'a b': {}}", "methods.a b", "is not a label"),
        ("methods.lora.rank=[]", "methods.lora.rank", "empty"),
        ("methods.lora.rank=[4, 4]", "methods.lora.rank", "4 is listed more than once"),
        ("methods.lora.rank={a: 1}", "methods.lora.rank", "is not a value"),
        ("methods.lora=3", "methods.lora", "is not a mapping"),
        # The grid.
        ("grid={}", "grid.learning_rate", "is missing"),
        ("grid=3", "grid", "is not a mapping"),
        ("grid.learning_rate=[]", "grid.learning_rate", "at least one value"),
        ("grid.learning_rate=1e-3", "grid.learning_rate", "0.001 is not a list of values"),
        ("grid.learning_rate=[1e-3, 0.001]", "grid.learning_rate", "0.001 is listed more than once"),
        ("grid.learning_rate=[1, high]", "grid.learning_rate.1", "'high' is not valid"),
        ("grid.learning_rate=[0]", "grid.learning_rate.0", "greater than 0"),
        ("grid.learning_rate=[.inf]", "grid.learning_rate.0", "finite"),
        ("grid.learning_rate={log_uniform: [1e-5, 1e-2]}", "grid.learning_rate", "continuous"),
        ("grid.scale=[-1]", "grid.scale.0", "greater than 0"),
        ("grid.batch_size=[2, 2.5]", "grid.batch_size.1", "2.5 is not valid"),
        ("grid.batch_size=[true]", "grid.batch_size.0", "True is not valid"),
        ("grid.dropout=[1.0]", "grid.dropout.0", "less than 1"),
        ("grid.scheduler=[linaer]", "grid.scheduler.0", "'linear', 'cosine' or 'constant'"),
        ("grid.max_length=[64]", "grid.max_length", "is not an axis"),
        ("grid.optimizer=[adamw]", "grid.optimizer", "variant of a method"),
        ("grid.lr=[1]", "grid.lr", "Did you mean 'learning_rate'?"),
        # Training.
        ("training={}", "training", "neither `epochs` nor `steps`"),
        ("training={epochs: 1, steps: 2}", "training", "both `epochs` and `steps`"),
        ("training.steps=0", "training.steps", "greater than or equal to 1"),
        ("training.batch_size=two", "training.batch_size", "'two' is not valid"),
        ("training.batch_size=true", "training.batch_size", "True is not valid"),
        ("training.optimizer=3", "training.optimizer", "3 is not valid"),
        ("training.scheduler=poly", "training.scheduler", "'linear', 'cosine' or 'constant'"),
        ("training.betas=[0.9]", "training.betas.1", "is missing"),
        ("training.betas=[0.9, 1.0]", "training.betas.1", "less than 1"),
        ("training.warmup_ratio=2", "training.warmup_ratio", "less than or equal to 1"),
        ("training.checkpoint=first", "training.checkpoint", "is not a mapping"),
        ("training.checkpoint={best: f1}", "training.checkpoint.best", "'metric' or 'loss'"),
        ("training.checkpoint={evaluations: 5}", "training.checkpoint.evaluations", "5 evaluations do not fit into 2 steps"),
        # Tasks, data, models.
        ("tasks=[]", "tasks", "at least 1 item"),
        ("tasks=[squad, squad]", "tasks.1", "listed more than once"),
        ("tasks=[3]", "tasks.0", "is not a task's name"),
        ("tasks={squad: {data: {test: 0}}}", "tasks.squad.data.test", "greater than or equal to 1"),
        ("tasks={squad: {training: {scheduler: x}}}", "tasks.squad.training.scheduler", "'linear'"),
        ("tasks={squad: {training: {epochs: 1, steps: 1}}}", "tasks.squad.training", "both `epochs` and `steps`"),
        ("tasks={squad: {training: {optimizer: adamw}}}", "tasks.squad.training.optimizer", "one for all tasks"),
        ("data.train=0", "data.train", "greater than or equal to 1"),
        ("data.train=every", "data.train", "'every' is not valid: it should be a number of rows, such as 1000, or `all`"),
        ("tasks={squad: {data: {test: every}}}", "tasks.squad.data.test", "'every' is not valid"),
        ("data.selection=all", "data.selection", "'all' is not valid"),
        ("data.source=3", "data.source", "3 is not valid"),
        ("models=[]", "models", "at least 1 item"),
        ("models=[a, a]", "models.1", "'a' is listed more than once"),
        ("models=[{dtype: bfloat16}]", "models.0.id", "is missing"),
        ("model={id: a, dtype: fp8}", "model.dtype", "'float32' or 'bfloat16'"),
        ("name=My Sweep", "name", "lower-case letters, digits and hyphens"),
        # Targets, head.
        ("targets=[q, w]", "targets.1", "unknown role 'w'"),
        ("targets=[q, q]", "targets.1", "listed more than once"),
        ("targets=[]", "targets", "is not a list of roles"),
        ("targets={micro-lama: [q]}", "targets.micro-lama", "Did you mean 'micro-llama'?"),
        ("targets={micro-lama: [q]}", "targets", "'micro-llama' has no roles"),
        ("targets={micro-llama: [x]}", "targets.micro-llama.0", "unknown role 'x'"),
        ("head=linear", "head", "'default'"),
        ("also_train=[norms, norms]", "also_train", "listed more than once"),
        ("also_train=[embeddings]", "also_train.0", "'norms' or 'biases'"),
        # Seeds.
        ("seeds.report=[100]", "seeds.report", "[100] are in `select` too"),
        ("seeds.report=[1, 1]", "seeds.report", "1 is listed more than once"),
        ("seeds.select=[]", "seeds.select", "at least 1 item"),
        ("seeds.select=[-1]", "seeds.select.0", "greater than or equal to 0"),
        ("seeds.select=100", "seeds.select", "a list"),
        ("seeds.vary=[init, data]", "seeds.vary.1", "'init', 'order' or 'dropout'"),
        # Resources.
        ("resources.cpus=0", "resources.cpus", "greater than or equal to 1"),
        ("resources.memory=8 gigs", "resources.memory", "such as 8GiB"),
        ("resources.time_limit=soon", "resources.time_limit", "such as 30m"),
        ("resources.time_limit=0", "resources.time_limit", "greater than 0"),
        ("resources.stall_limit=never", "resources.stall_limit", "such as 15m"),
        ("resources.stall_limit=null", "resources.stall_limit", "a valid number"),
        # Not available.
        # Budgets.
        ("budgets=[1000]", "budgets", "is not a mapping"),
        ("budgets={}", "budgets.counts", "is missing"),
        ("budgets={counts: 1000}", "budgets.counts", "1000 is not valid: it should be a list"),
        ("budgets={counts: []}", "budgets.counts", "at least 1 item"),
        ("budgets={counts: [1000, 0]}", "budgets.counts.1", "greater than or equal to 1"),
        ("budgets={counts: [1e3]}", "budgets.counts.0", "1000.0 is not valid: it should be a valid integer"),
        ("budgets={counts: [true]}", "budgets.counts.0", "True is not valid"),
        ("budgets={counts: [10, 20, 10]}", "budgets.counts", "10 is listed more than once"),
        ("budgets={counts: [10], match: above}", "budgets.match", "'below' or 'nearest'"),
        ("budgets={counts: [10], tolerance: 1.0}", "budgets.tolerance", "less than 1"),
        ("budgets={counts: [10], tolerance: -0.1}", "budgets.tolerance", "greater than or equal to 0"),
        ("budgets={counts: [10], tolerence: 0.1}", "budgets.tolerence", "Did you mean 'tolerance'?"),
        ("budgets={parameters: [10]}", "budgets.parameters", "budgets: {counts: [...]}"),
        ("budget={counts: [10]}", "budget", "Did you mean 'budgets'?"),
        ("halving=3", "halving", "is not a mapping"),
        ("search={algorithm: bayes}", "search.algorithm", "'bayes' is not available. Valid: 'grid', 'optuna'."),
        ("search={algorithm: optuna, sampler: tbe}", "search.sampler", "Did you mean 'tpe'?"),
        ("search={algorithm: optuna, sampler: random, batch: 2}", "search.batch", "'random' does not read it"),
        ("search={algorithm: optuna, trials: 4, startup: 6}", "search.startup", "6 start-up points do not fit into 4 trials"),
        ("search={algorithm: optuna, trials: 4}", "search.trials", "4 trials, and the axes have 2 points"),
        ("search={algorithm: optuna, trials: 0}", "search.trials", "greater than or equal to 1"),
        ("search={seed: 1}", "search.seed", "does not read it"),
        ("search={trials: 3}", "search.trials", "does not read it"),
        ("resources.workers=3", "training.batch_size", "2 examples do not divide by the 3 workers of a trial"),
        ("deepspeed.zero_stage=7", "deepspeed.zero_stage", "less than or equal to 3"),
        # DeepSpeed keys that change what is trained.
        ("deepspeed.optimizer={}", "deepspeed.optimizer", "training: {optimizer: ...}"),
        ("deepspeed.scheduler={}", "deepspeed.scheduler", "training: {scheduler: ..., warmup_ratio: ...}"),
        ("deepspeed.fp16={}", "deepspeed.fp16", "dtype: bfloat16"),
        ("deepspeed.bf16={}", "deepspeed.bf16", "dtype: bfloat16"),
        ("deepspeed.train_batch_size=8", "deepspeed.train_batch_size", "training: {batch_size: ...}"),
        ("deepspeed.train_micro_batch_size_per_gpu=8", "deepspeed.train_micro_batch_size_per_gpu", "micro_batch"),
        ("deepspeed.gradient_accumulation_steps=8", "deepspeed.gradient_accumulation_steps", "micro_batch"),
        ("deepspeed.gradient_clipping=1", "deepspeed.gradient_clipping", "training: {clip: ...}"),
        ("deepspeed.zero_optimization={stage: 1}", "deepspeed.zero_optimization.stage", "zero_stage"),
        # Overrides themselves.
        ("training.steps", "--set training.steps", "key.path=value"),
        ("=3", "--set =3", "key.path=value"),
        ("name.first=3", "--set name.first=3", "has no keys"),
        ("seeds.select.4=3", "--set seeds.select.4=3", "a list of 1"),
        ("grid.learning_rate=[1", "--set grid.learning_rate=[1", "not valid YAML"),
    ],
)
def test_a_fault_names_path_value_and_remedy(faults_of: FaultsOf, override: str, path: str, words: str) -> None:
    faults = faults_of(override)
    assert path in faults
    assert words in faults[path]


@pytest.mark.parametrize("key", ["name", "model", "tasks", "methods", "grid", "training"])
def test_a_missing_section_is_a_fault(sweep_file: Path, key: str) -> None:
    lines = sweep_file.read_text().replace("methods:\n", "methods: ").replace("grid:\n", "grid: ").splitlines()
    lines = [
        line.replace("  lora: {rank: [2, 4]}", "  {lora: {rank: [2, 4]}}").replace(
            "  learning_rate: [1e-3, 1e-2]", "  {learning_rate: [1e-3]}"
        )
        for line in lines
    ]
    text = "\n".join(lines).replace("methods: \n", "methods:").replace("grid: \n", "grid:")
    sweep_file.write_text("\n".join(line for line in text.splitlines() if not line.startswith(f"{key}:")))
    with pytest.raises(SpecError) as caught:
        load_spec(sweep_file)
    assert [fault.path for fault in caught.value.faults] == [key if key != "model" else "models"]


@pytest.mark.parametrize(
    ("override", "paths"),
    [
        ("training.batch_size=3", {"training.batch_size"}),
        ("grid.batch_size=[4, 5, 8, 9]", {"grid.batch_size.1", "grid.batch_size.3"}),
        ("tasks={boolq: {training: {batch_size: 5}}}", {"tasks.boolq.training.batch_size"}),
    ],
)
def test_workers_share_a_batch_evenly(faults_of: FaultsOf, override: str, paths: set[str]) -> None:
    assert set(faults_of("resources.workers=2", override)) == paths


def test_a_group_of_workers_with_any_zero_stage_is_valid(sweep_file: Path) -> None:
    spec = load_spec(sweep_file, ["resources.workers=4", "deepspeed.zero_stage=3", "training.batch_size=12"])
    assert (spec.resources.workers, spec.deepspeed.zero_stage) == (4, 3)


def test_all_faults_come_together(faults_of: FaultsOf) -> None:
    faults = faults_of(
        "name=A",
        "trainning={}",
        "methods.lora.rank=[]",
        "methods.lora.alpha=3",
        "grid.scale=[0]",
        "training.epochs=3",
        "training.steps=0",
        "seeds.report=[100, 0]",
        "targets=[w]",
        "halving={}",
        "x",
    )
    assert {
        "name",
        "trainning",
        "methods.lora.rank",
        "methods.lora.alpha",
        "grid.scale.0",
        "training",
        "training.steps",
        "seeds.report",
        "targets.0",
        "--set x",
    } <= set(faults)


def test_the_error_lists_every_fault_on_a_line_under_the_files_name(sweep_file: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(sweep_file, ["name=A", "head=x"])
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{sweep_file}: 2 faults"
    assert {line.split(":")[0].strip() for line in lines[1:]} == {"name", "head"}


def test_a_tasks_override_does_not_repeat_the_faults_of_what_it_overrides(faults_of: FaultsOf) -> None:
    assert set(faults_of("training.clip=-1", "tasks={squad: {training: {eps: 0}}}")) == {
        "training.clip",
        "tasks.squad.training.eps",
    }


def test_a_task_may_not_override_an_axis_of_the_grid(faults_of: FaultsOf) -> None:
    assert (
        "the grid varies it"
        in faults_of("grid.dropout=[0, 0.1]", "tasks={squad: {training: {dropout: 0.2}}}")["tasks.squad.training.dropout"]
    )
    assert "the grid varies it" in faults_of("grid.steps=[2, 3]", "tasks={squad: {training: {epochs: 1}}}")["tasks.squad.training.epochs"]


def test_the_valid_parts_of_a_faulty_file_remain_readable(sweep_file: Path) -> None:
    overrides = [
        "methods.lora.alpha=3",
        "methods.nope={rank: 2}",
        "data.train=0",
        "grid.scale=[]",
        "halving={}",
        "tasks=[squad, drop]",
    ]
    reading = read_spec(sweep_file, overrides)
    assert len(reading.faults) == 4
    assert list(reading.spec.methods) == ["lora", "nope"]
    assert reading.spec.methods["lora"].options == {"rank": [2, 4]}
    assert list(reading.spec.tasks) == ["squad", "drop"]
    assert reading.spec.models[0].id == "micro-llama"
    assert reading.spec.data.source == "embedded"


@pytest.mark.parametrize(
    ("message", "shown"), [("is wrong", "is wrong."), ("Did you mean 'b'?", "Did you mean 'b'?"), ("Valid: b.", "Valid: b.")]
)
def test_a_fix_is_a_sentence_of_its_own(message: str, shown: str) -> None:
    assert str(Fault("a", message, "write b")) == f"a: {shown} Fix: write b"
    assert str(Fault("a", message)) == f"a: {message}"
