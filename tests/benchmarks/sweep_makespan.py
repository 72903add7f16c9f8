"""A sweep of 24 trials of about 10 s on MiniLM and SmolLM2, beside plain Ray Tune with a process per trial, HF PEFT and DeepSpeed.

Both run the same trials: half of them on each model, the same batches in the same order, LoRA of the same rank on the same matrices, AdamW
under DeepSpeed, one thread each, as many at one time as there are processors. Both times are those of whole runs, from the start of a new
process. The baseline is given what a user would have to find out first: weights converted and texts tokenised already, and a DeepSpeed
that compiles nothing. It evaluates the same examples, and stores nothing; the sweep keeps Outcomes and delivers them to MLflow, and runs
the two untuned models besides.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks.frame import Figure, Target, benchmark_parser, finish, finish_part, in_process, resources_of
from tests.orchestrator.sweep.stand_ins import Silent

if TYPE_CHECKING:
    from orchestrator.plan import Plan
    from search_spaces.trial import Trial

TARGETS = {"speed": Target(1.5, "higher", "x plain Tune"), "busy": Target(0.92, "higher", "of workers x wall")}
BUDGET_SECONDS = 360
RANK, THREADS = 8, 1
QUICK_TRIALS, QUICK_SHARE = 6, 0.2
SWEEP = """
name: makespan
models: [minilm-l6, smollm2-135m]
tasks:
  stsb: {training: {steps: ENCODER_STEPS}}
  squad: {}
data: {source: embedded, train: 256, selection: 4, test: 4}
methods:
  lora: {rank: RANK}
targets: [q, v]
grid: {learning_rate: [GRID]}
search: {algorithm: grid, accept_edge: true}
training: {steps: LM_STEPS, batch_size: 4, max_length: 128, max_new_tokens: 4, checkpoint: {best: loss, evaluations: 1}}
seeds: {select: [100], report: [0]}
resources: RESOURCES
"""


def plan_of(options: argparse.Namespace, folder: Path) -> Plan:
    """Return the plan: for each model all learning rates but one are select trials, and one trial reports."""
    from orchestrator.catalog import InstalledCatalog
    from orchestrator.plan import load_plan

    rates = ", ".join(f"{1e-4 * 1.5**n:.6e}" for n in range(options.trials // 2 - 1))
    text = SWEEP.replace("GRID", rates).replace("RANK", str(RANK)).replace("RESOURCES", str(resources_of(options)))
    text = text.replace("ENCODER_STEPS", str(options.encoder_steps)).replace("LM_STEPS", str(options.lm_steps))
    (folder / "sweep.yaml").write_text(text)
    return load_plan(folder / "sweep.yaml", InstalledCatalog())


def sweep(options: argparse.Namespace) -> dict[str, Any]:
    """Run the sweep."""
    from orchestrator.sweep.runner import Runner, sweep_documents

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = plan_of(options, folder)
        runner = Runner(plan, str(folder / "sweeps"), f"sqlite:///{folder}/mlflow.db", Silent(), sweep_documents(plan))
        result = runner.run()
    trained = result.trials - len(plan.base_trials)
    return {"trials": trained, "failed": len(result.failed), "train_seconds": result.train_seconds, "time": result.time.to_json()}


def plain(options: argparse.Namespace) -> dict[str, Any]:
    """Run the same trials with plain Tune; those that report take the first learning rate."""
    with tempfile.TemporaryDirectory() as name:
        plan = plan_of(options, Path(name))
        reports = plan.report_trials(dict.fromkeys(plan.cells, plan.factory.points[0]))
        trials = [trial.model_dump_json() for trial in (*plan.trials, *reports)]
        seconds = _tuned(trials, name, options.device)
    return {"trials": len(trials), "train_seconds": sum(seconds)}


def _tuned(trials: list[str], scratch: str, device: str) -> list[float]:
    """Let Ray Tune train trials in a process each; return what each says of the seconds of its steps and evaluation."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "RAY_AIR_NEW_OUTPUT": "0"}
    import ray
    from ray import tune

    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        needs = {"cpu": 1, "gpu": 1} if device == "cuda" else {"cpu": 1}
        tuner = tune.Tuner(
            tune.with_resources(train_with_peft, needs),
            param_space={"trial": tune.grid_search(trials)},
            tune_config=tune.TuneConfig(reuse_actors=False),
            run_config=tune.RunConfig(storage_path=scratch, name="plain", verbose=0),
        )
        results = tuner.fit()
    finally:
        ray.shutdown()
    if results.errors:
        raise RuntimeError(f"{len(results.errors)} trials of the baseline failed: {results.errors[0]}")
    return [float(result.metrics["seconds"]) for result in results if result.metrics is not None]


def train_with_peft(config: dict[str, Any]) -> dict[str, Any]:
    """Train one trial as a script would: HF PEFT's LoRA on a model of its own, DeepSpeed's engine, one evaluation of each split."""
    import peft
    import torch

    from search_spaces.trial import Trial
    from trainers import models
    from trainers.adapters.copies import has_head
    from trainers.adapters.sites import find_sites
    from trainers.group import alone

    torch.set_num_threads(THREADS)
    trial = Trial.model_validate_json(config["trial"])
    torch.manual_seed(trial.seed)
    alone()
    base = models.load(trial.model, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    paths = [site.path for site in find_sites(base.model, trial.targets)]
    head = ["classifier"] if has_head(base.model) else None
    lora = peft.LoraConfig(r=RANK, lora_alpha=RANK, target_modules=paths, modules_to_save=head)
    seconds = _optimized(peft.get_peft_model(base.model, lora), base, trial)
    return {"seconds": seconds}


def _optimized(model: Any, base: Any, trial: Trial) -> float:
    """Train a model and evaluate it; return the seconds of that."""
    import torch

    from trainers.batching import collated
    from trainers.group import library

    data = _tokenised(base, trial)
    training = trial.training
    assert training.steps is not None
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=training.learning_rate, weight_decay=training.weight_decay)
    micro = {"train_micro_batch_size_per_gpu": training.batch_size, "gradient_clipping": training.clip or 0.0, "steps_per_print": 10**9}
    engine, *_ = library().initialize(
        model=model, model_parameters=trained, optimizer=optimizer, config={**micro, "zero_allow_untested_optimizer": True}
    )
    pad, device = base.tokenizer.pad_token_id, next(model.parameters()).device
    began = time.perf_counter()
    for rows in _order(trial, len(data.train)):
        batch = collated([data.train[row] for row in rows], pad, device)
        engine.backward(batch.losses(engine).sum() / batch.weight)
        engine.step()
    model.eval()
    _evaluate(model, base, trial, data.selection)
    if trial.phase == "report":
        _evaluate(model, base, trial, data.test(trial.phase))
    return time.perf_counter() - began


def _evaluate(model: Any, base: Any, trial: Trial, split: Any) -> None:
    """Compute the loss of a split and the answers: classes or numbers, or what Transformers' `generate` writes."""
    import torch

    from trainers.batching import collated, left_padded

    pad, device = base.tokenizer.pad_token_id, next(model.parameters()).device
    with torch.no_grad():
        collated(split.texts or split.sequences, pad, device).losses(model)
        if split.texts:
            return
        ids_BT, mask_BT = left_padded([item.prompt for item in split.items], pad, device)
        limit = {"max_new_tokens": trial.training.max_new_tokens, "do_sample": False, "pad_token_id": pad}
        written = model.generate(input_ids=ids_BT, attention_mask=mask_BT, **limit)
        base.tokenizer.batch_decode(written[:, ids_BT.shape[1] :], skip_special_tokens=True)


def _tokenised(base: Any, trial: Trial) -> Any:
    from trainers import data, registry
    from trainers.locations import cache_root

    lengths = {"max_length": trial.training.max_length, "max_new_tokens": trial.training.max_new_tokens}
    cache = cache_root() / "data"
    return data.load(registry.task(trial.task), trial.data, base.tokenizer, **lengths, cache=cache, has_head=base.has_head)


def _order(trial: Trial, count: int) -> Any:
    from trainers.data import batch_indices

    assert trial.training.steps is not None
    return batch_indices(count, trial.training.batch_size, trial.training.steps, trial.seed_of("order"))


def figures(parts: dict[str, Any]) -> list[Figure]:
    """Return how many times faster the sweep was, and which share of its workers' time was training and evaluation."""
    ours, theirs = parts["sweep"], parts["plain"]
    note = f"{ours['process_seconds']:.0f} s to {theirs['process_seconds']:.0f} s, {ours['trials']} trials, {THREADS} thread each"
    whole = theirs["process_seconds"] * ours["time"]["workers"]
    share = f"plain Tune trains {theirs['train_seconds'] / whole:.0%} of the time, start included"
    return [
        TARGETS["speed"].reached("speed", theirs["process_seconds"] / ours["process_seconds"], note),
        TARGETS["busy"].reached("busy", ours["time"]["busy"], f"from the first trial on; {share}"),
    ]


def main() -> None:
    """Run both in processes of their own, and print how many times faster the sweep was."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--trials", type=int, default=24, help="half of them on each model")
    parser.add_argument("--encoder-steps", type=int, default=72, help="of a trial on MiniLM")
    parser.add_argument("--lm-steps", type=int, default=5, help="of a trial on SmolLM2")
    options = parser.parse_args()
    if options.part:
        finish_part({"sweep": sweep, "plain": plain}[options.part](options))
        return
    if options.quick:
        options.trials = min(options.trials, QUICK_TRIALS)
        options.encoder_steps, options.lm_steps = (max(1, int(QUICK_SHARE * n)) for n in (options.encoder_steps, options.lm_steps))
    sizes = [f"--{name.replace('_', '-')}={getattr(options, name)}" for name in ("trials", "encoder_steps", "lm_steps", "device")]
    parts = {part: in_process("tests.benchmarks.sweep_makespan", part, *sizes, threads=THREADS) for part in ("sweep", "plain")}
    finish("sweep_makespan", options, figures(parts), parts)


if __name__ == "__main__":
    main()
