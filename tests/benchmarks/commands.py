"""How long commands take from their start, beside a bare `import torch` in the same run."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from tests.benchmarks.frame import Target, benchmark_parser, finish, interleaved, ratio_of

TARGETS = {
    "fairsweep --help": Target(0.5, "lower", "x import torch"),
    "fairsweep count": Target(2.0, "lower", "x import torch"),
    "fairsweep plan, 10,102 trials": Target(10.0, "lower", "x import torch"),
}
BUDGET_SECONDS = 20
SWEEP = """
name: scale
model: llama2-7b
tasks: [squad, drop]
data: {source: embedded, train: 64, selection: 16, test: 16}
methods:
  lora: {rank: [1, 2, 4, 8, 16]}
  lorta: {rank: [1, 2, 4, 8, 16]}
grid: {learning_rate: [GRID]}
training: {steps: 10}
seeds: {select: [100], report: [0, 1, 2, 3, 4]}
"""
POINTS = 500
"""2 tasks x 10 capacities x 500 points + 100 report trials + 2 of the untuned model = 10,102 trials."""


def commands(folder: Path) -> dict[str, list[str]]:
    """Return the measured commands; the first one is what the others are compared with."""
    spec = folder / "scale.yaml"
    spec.write_text(SWEEP.replace("GRID", ", ".join(f"{1e-6 * 1.02**n:.6e}" for n in range(POINTS))))
    fairsweep = [sys.executable, "-m", "orchestrator.cli"]
    count = ["count", "--model", "llama2-7b", "--method", "lorta", "--set", "rank=4", "--targets", "q,v", "--json"]
    return {
        "import torch": [sys.executable, "-c", "import torch"],
        "fairsweep --help": [*fairsweep, "--help"],
        "fairsweep count": [*fairsweep, *count],
        "fairsweep plan, 10,102 trials": [*fairsweep, "plan", str(spec), "--json"],
    }


def run(command: list[str]) -> None:
    """Run a command to its end, start of the process included."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main() -> None:
    """Measure all commands in turn, several times, and print ratios of how long they take."""
    parser = benchmark_parser(__doc__, uses_device=False)
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()
    options.runs = 1 if options.quick else options.runs
    with tempfile.TemporaryDirectory() as folder:
        measured = {name: partial(run, command) for name, command in commands(Path(folder)).items()}
        times = interleaved(measured, options.runs)
    baseline = next(iter(measured))
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratios = {name: ratio_of(times, name, baseline).median for name in TARGETS}
    figures = [TARGETS[name].reached(name, ratio, f"{medians[name]:.2f} s") for name, ratio in ratios.items()]
    finish("commands", options, figures, {"seconds": times})


if __name__ == "__main__":
    main()
