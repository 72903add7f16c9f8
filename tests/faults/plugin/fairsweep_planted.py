"""A method for the fault harness: LoRA that writes down its steps, halts where it is told to, and fails where its label says so.

What it trains is LoRA's own, so a trial that was held or retried ends with the numbers of one that was not.
"""

from __future__ import annotations

import json
import os
import resource
import time
from pathlib import Path

import psutil
import torch
from torch import nn

from trainers.adapters.pairs import PairMethod
from trainers.api import MethodCard, Setting

FOLDER = "FAIRSWEEP_FAULTS"
"""Environment variable: the folder through which the harness and this method speak."""
HEADROOM_BYTES, PIECE_BYTES = 2**30, 2**26


class Planted(PairMethod):
    """LoRA (Hu et al. 2021, arXiv 2106.09685, eq. 3) with a trap before each step.

    `<folder>/steps` gets a line per step. Where `<folder>/trap.json` names the step and has tickets left, the process takes the next one,
    `<folder>/held.<n>`, and waits until `<folder>/released.<n>` is there.
    """

    card = MethodCard(
        name="planted",
        family="low-rank",
        reference="arXiv 2106.09685",
        source="the method lora",
        capacity=("rank",),
        settings={
            "alpha": Setting(16.0, doc="numerator of the scaling α/r"),
            "act": Setting("train", choices=("train", "allocate", "hang", "crash"), doc="what happens in the middle of training"),
        },
        trains_at_start=("up.*",),
        exports_lora=True,
        packable=True,
    )

    def build(self, base: nn.Module) -> None:
        """Create LoRA's parameters; find the folder, if the harness gave one."""
        super().build(base)
        folder = os.environ.get(FOLDER)
        self.folder = Path(folder) if folder else None

    def before_step(self, step: int, steps: int) -> None:
        """Write the step down, then do what the trap and the label say."""
        if self.folder is not None:
            self._write_down(self.folder, step)
            self._halt(self.folder, step)
        if step == steps // 2 and (act := self.settings["act"]) != "train":
            {"allocate": _allocate, "hang": _hang, "crash": _crash}[act]()

    @staticmethod
    def _write_down(folder: Path, step: int) -> None:
        with (folder / "steps").open("a") as journal:
            journal.write(json.dumps({"process": os.getpid(), "step": step}) + "\n")

    @staticmethod
    def _halt(folder: Path, step: int) -> None:
        try:
            trap = json.loads((folder / "trap.json").read_text())
        except FileNotFoundError:
            return
        if step != trap["step"]:
            return
        for number in range(trap["tickets"]):
            try:
                with (folder / f"held.{number}").open("x") as ticket:
                    ticket.write(str(os.getpid()))
            except FileExistsError:
                continue
            while not (folder / f"released.{number}").exists():
                time.sleep(0.01)
            return


def _allocate() -> None:
    """Take memory without end, under a limit of this process's own that a machine of any size meets at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + HEADROOM_BYTES, hard))
    hoard = []
    try:
        while True:
            hoard.append(torch.ones(PIECE_BYTES, dtype=torch.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _hang() -> None:
    """Do nothing, for ever."""
    while True:
        time.sleep(3600)


def _crash() -> None:
    """Die as from a fault of a native library, or by the kernel's out-of-memory killer: without a word."""
    os.kill(os.getpid(), 9)


METHOD = Planted
