"""One benchmark in a process of its own, ended when its time is over."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.discovery import Benchmark
from tests.benchmarks.frame import ROOT

GRACE_SECONDS = 10.0
"""How long a process that is told to end may take to stop the servers that it started."""
MESSAGES = 15
"""Lines of a failed benchmark's messages that are shown."""


def run(benchmark: Benchmark, arguments: Sequence[str], budget_seconds: float) -> dict[str, Any]:
    """Run a benchmark with `--json`.

    Returns:
        Its document with `seconds`; that of a failed one says why under `failed` and has the end of what it wrote under `messages`.
    """
    command = [sys.executable, "-W", "ignore", "-m", benchmark.module, "--json", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        output, messages = Path(name) / "output", Path(name) / "messages"
        with output.open("wb") as out, messages.open("wb") as err:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=err, start_new_session=True)
            reason = _ended(process, budget_seconds)
        took = {"seconds": round(time.perf_counter() - start, 1)}
        if reason is None:
            try:
                return {**json.loads(output.read_text(encoding="utf-8").strip().splitlines()[-1]), **took}
            except (IndexError, ValueError):
                reason = "printed no JSON document"
        tail = messages.read_text(encoding="utf-8", errors="replace").splitlines()[-MESSAGES:]
    return {
        "benchmark": benchmark.name,
        "figures": [],
        "missed": [],
        "failed": reason,
        "messages": "".join(f"  {x}\n" for x in tail),
        **took,
    }


def _ended(process: subprocess.Popen[bytes], budget_seconds: float) -> str | None:
    """Wait for a process; return why it failed, or None. Whatever happens, its group is gone afterwards."""
    try:
        status = process.wait(budget_seconds)
    except subprocess.TimeoutExpired:
        return f"took longer than {budget_seconds:.0f} s"
    finally:
        _stop(process)
    return None if status == 0 else f"ended with status {status}"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Tell a process to end, as Ctrl-C does, and then end all of its group."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
