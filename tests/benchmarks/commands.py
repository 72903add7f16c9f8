"""How long commands take from their start, beside a bare `import torch` in the same run. `--json` prints one document."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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


def seconds(command: list[str]) -> float:
    """Return how long a command takes, start of the process included."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Measure all commands in turn, several times, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = commands(Path(folder))
        times: dict[str, list[float]] = {name: [] for name in measured}
        for number in range(options.runs + 1):
            for name, command in measured.items():
                took = seconds(command)
                if number:
                    times[name].append(took)
    medians = {name: statistics.median(values) for name, values in times.items()}
    baseline = medians["import torch"]
    rows = [{"command": name, "seconds": round(value, 3), "ratio": round(value / baseline, 2)} for name, value in medians.items()]
    if options.json:
        sys.stdout.write(json.dumps({"benchmark": "commands", "runs": options.runs, "rows": rows}) + "\n")
        return
    for row in rows:
        sys.stdout.write(f"{row['command']:32s} {row['seconds']:8.3f} s {row['ratio']:6.2f} x import torch\n")


if __name__ == "__main__":
    main()
