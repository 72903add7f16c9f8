"""`python -m tests.faults`: disturbs sweeps and says which faults they survived. See README.md beside it."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from tests.faults.fault import Fault, load_faults
from tests.faults.lab import Lab
from tests.faults.report import Verdicts, document, show
from tests.faults.world import Stuck

REQUIRED = "FAIRSWEEP_REQUIRE_SERVICES"


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the chosen faults; return 1 when one was not survived, 2 for a name that is not there, 130 when interrupted."""
    faults = load_faults()
    options = _options(arguments)
    if options.list:
        for fault in faults.values():
            sys.stdout.write(f"{fault.number:2d}  {fault.name:24s} {'ci ' if fault.in_ci else '   '} {fault.done}\n")
        return 0
    if unknown := [name for name in options.faults if name not in faults]:
        sys.stderr.write(f"there is no fault {', '.join(unknown)}. Valid: {', '.join(faults)}\n")
        return 2
    chosen = [fault for fault in faults.values() if _chosen(fault, options)]
    signal.signal(signal.SIGTERM, _interrupt)
    began = time.monotonic()
    lab = Lab(options.seed, options.subset == "ci", _Progress(began), options.keep)
    try:
        for overrides in dict.fromkeys(((), *(fault.like for fault in chosen if not fault.unmet()))):
            lab.undisturbed(overrides)
        results = [tried(fault, lab, f"[{number}/{len(chosen)}]") for number, fault in enumerate(chosen, 1)]
    except Stuck as stuck:
        sys.stderr.write(f"no fault was tried: {stuck}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        lab.close()
    seconds = time.monotonic() - began
    if options.json:
        sys.stdout.write(json.dumps(document(results, options.seed, seconds), indent=1) + "\n")
    else:
        show(results, seconds)
    return int(any(result.verdict == "not survived" for result in results))


def tried(fault: Fault, lab: Lab, position: str = "") -> Verdicts:
    """Try one fault and return what became of it."""
    lab.say(f"{position} {fault.name}: {fault.done}")
    lab.starts, lab.violations, lab.notes, began = 0, [], [], time.monotonic()
    if reason := fault.unmet():
        verdict = "not survived" if os.environ.get(REQUIRED) == "1" else "skipped"
        lab.say(f"{verdict}: {reason}")
        return Verdicts(fault.name, fault.number, fault.done, verdict, reason=reason)
    try:
        fault.run(lab)
    except Exception as error:  # noqa: BLE001  a fault that cannot be tried must not keep the others from it
        lab.violations.append("".join(traceback.format_exception(error)))
    seconds, violations = time.monotonic() - began, tuple(lab.violations)
    verdict = "not survived" if violations else "survived"
    lab.say("; ".join((f"{verdict} ({seconds:.0f} s, {lab.starts} starts)", *violations)))
    return Verdicts(fault.name, fault.number, fault.done, verdict, lab.starts, seconds, "", violations, tuple(lab.notes))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("faults", nargs="*", metavar="FAULT", help="names of faults (default: all)")
    parser.add_argument("--subset", choices=("all", "ci"), default="all", help="`ci`: a few minutes, for every change")
    parser.add_argument("--list", action="store_true", help="list the faults")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random moments (default: 0)")
    parser.add_argument("--keep", action="store_true", help="keep the folders of all worlds, not only of those that did not survive")
    return parser.parse_args(arguments)


def _chosen(fault: Fault, options: argparse.Namespace) -> bool:
    if options.faults:
        return fault.name in options.faults
    return options.subset == "all" or fault.in_ci


class _Progress:
    """Writes lines to stderr, each with the seconds since the beginning."""

    def __init__(self, began: float) -> None:
        self._began = began

    def __call__(self, text: str) -> None:
        sys.stderr.write(f"{time.monotonic() - self._began:7.1f} s  {text}\n")
        sys.stderr.flush()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    # The worlds' processes must find the packages of this repository, wherever the harness is called from.
    os.chdir(Path(__file__).parents[2])
    sys.exit(main())
