"""Checks of what the nodes compute on: GPUs, their driver, DeepSpeed."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.examination import Finding, size
from orchestrator.doctor.subject import Subject, ops_of
from trainers.accelerator import Accelerator

TOPIC = "accelerator"


def known(subject: Subject) -> Iterator[tuple[str, Accelerator]]:
    """Yield what the nodes that have answered compute on, by name."""
    for report in subject.nodes:
        if TOPIC in report.facts:
            yield report.name, Accelerator.model_validate(report.facts[TOPIC])


def gpus(subject: Subject) -> Iterator[Finding]:
    """GPUs that are there can be used."""
    on_cpu = subject.demand is not None and not subject.demand.gpus
    for name, found in known(subject):
        if found.gpus:
            shown = "; ".join(f"{gpu.name}, {size(gpu.memory_bytes)}, compute capability {gpu.capability}" for gpu in found.gpus)
            driver = f"driver {found.driver}" if found.driver else "driver unknown, nvidia-smi is not there"
            yield Finding("ok", f"{len(found.gpus)} x {shown} ({driver}, torch for {found.platform})", node=name)
        elif found.hardware or found.driver_error:
            seen = found.driver_error or f"{', '.join(found.hardware)} (driver {found.driver})"
            yield Finding("warning" if on_cpu else "failure", f"torch cannot use the GPU: {seen}", _gpu_fix(found), name)
        else:
            yield Finding("ok", "no GPU: trials run on the CPU", node=name)


def bfloat16(subject: Subject) -> Iterator[Finding]:
    """A base in bfloat16 meets GPUs that compute in it."""
    models = [model.id for model in subject.plan.spec.models if model.dtype == "bfloat16"] if subject.plan else []
    for name, found in known(subject):
        lacking = sorted({gpu.name for gpu in found.gpus if not gpu.bfloat16})
        if models and lacking:
            seen = f"{', '.join(lacking)} has no bfloat16, which {', '.join(models)} is to be in"
            yield Finding("failure", seen, "write `dtype: float32`, or leave the node out", name)


def deepspeed(subject: Subject) -> Iterator[Finding]:
    """DeepSpeed can be imported, and has the ops that the sweep needs."""
    for name, found in known(subject):
        if found.deepspeed is None:
            fix = "reinstall it there for the installed torch: pip install --force-reinstall --no-deps deepspeed"
            yield Finding("failure", f"cannot be imported: {found.deepspeed_error}", fix, name)
            continue
        missing = [op for op, usable in found.ops.items() if not usable]
        if missing:
            fix = f"install what {', '.join(missing)} is built with (a compiler, ninja, libaio-dev), or leave out offloading to nvme"
            yield Finding("failure", f"op {', '.join(missing)} cannot be built there", fix, name)
        else:
            needed = ", ".join(ops_of(subject.plan)) or "none of its compiled ops, and so no compiler,"
            yield Finding("ok", f"runs on {found.deepspeed}; {needed} is needed", node=name)


def _gpu_fix(found: Accelerator) -> str:
    if found.driver_error:
        return "repair NVIDIA's driver on that node: `nvidia-smi` must list its GPUs"
    if found.platform is None:
        return "this torch is built for CPUs only: install a build for CUDA (pytorch.org, Get Started)"
    return f"torch is built for {found.platform}: update the driver, install a torch for an older CUDA, or look at CUDA_VISIBLE_DEVICES"
