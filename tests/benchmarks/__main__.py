"""Runs benchmarks one after another, each in a process of its own within its time budget, and prints one table of target against reached.

`make bench` runs all, `make bench ARGS='packing swap'` some, `ARGS=--json` prints one document, `ARGS=--markdown` the README's table.
Progress goes to stderr. A benchmark that fails, or takes more than three times its budget, is shown as such and gives exit status 1; a
missed target is shown and gives 0. Run it on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

from tests.benchmarks.discovery import Benchmark, benchmarks
from tests.benchmarks.process import run
from tests.benchmarks.table import markdown, show


def arguments(names: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser of the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="benchmark", help=f"those to run (default: all): {', '.join(names)}")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where models compute (default: cpu)")
    parser.add_argument("--quick", action="store_true", help="smallest sizes: a look at whether everything runs")
    parser.add_argument("--patience", type=float, default=3.0, metavar="FACTOR", help="budgets after which one is ended (default: 3)")
    return parser


def chosen(found: Sequence[Benchmark], names: Sequence[str]) -> list[Benchmark]:
    """Return the benchmarks of some names, of all if there are none; end with a message for one that is not there."""
    known = {benchmark.name for benchmark in found}
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"no such benchmark: {', '.join(unknown)}. Valid: {', '.join(sorted(known))}")
    return [benchmark for benchmark in found if not names or benchmark.name in names]


def measured(wanted: Sequence[Benchmark], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Run benchmarks one after another; return their documents."""
    passed_on = ["--device", options.device, *(["--quick"] if options.quick else [])]
    documents = []
    for number, benchmark in enumerate(wanted, start=1):
        budget = benchmark.budget_seconds * options.patience
        sys.stderr.write(f"[{number}/{len(wanted)}] {benchmark.name}: about {benchmark.budget_seconds:.0f} s ... ")
        sys.stderr.flush()
        document = run(benchmark, passed_on, budget)
        documents.append(document)
        sys.stderr.write(f"{document['seconds']:.0f} s{', FAILED' if 'failed' in document else ''}\n{document.pop('messages', '')}")
    return documents


def main() -> int:
    """Run them, print the table, and return the exit status."""
    found = benchmarks()
    options = arguments([benchmark.name for benchmark in found]).parse_args()
    start = time.perf_counter()
    documents = measured(chosen(found, options.names), options)
    took = time.perf_counter() - start
    if options.json:
        machine = {"processors": os.cpu_count(), "architecture": platform.machine(), "python": platform.python_version()}
        print(json.dumps({"machine": machine, "seconds": round(took, 1), "benchmarks": documents}))
    elif options.markdown:
        print(markdown(documents), end="")
    else:
        show(documents)
    missed = sum(len(document["missed"]) for document in documents)
    failed = [document["benchmark"] for document in documents if "failed" in document]
    sys.stderr.write(f"{took / 60:.1f} minutes, {missed} targets missed" + (f"; failed: {', '.join(failed)}" if failed else "") + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    # Told to end, it ends what it started, as on Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
