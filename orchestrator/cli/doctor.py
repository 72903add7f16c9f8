"""The command that checks a machine or cluster before a sweep: doctor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from orchestrator.cli.command import DONE, NO, Answer, command, json_option, set_option, tracking_option
from search_spaces.errors import Fault, SpecError


@command(
    click.argument("spec", required=False),
    set_option,
    click.option("--address", metavar="HOST:PORT|auto", help="Ray cluster; without it, this machine is checked."),
    click.option("--storage", default="fairsweep/sweeps", show_default=True, metavar="PATH|URI", help="Folder of all sweeps."),
    tracking_option,
    click.option(
        "--timeout", type=click.FloatRange(min=1), default=120, show_default=True, metavar="SECONDS", help="Patience per answer of a node."
    ),
    json_option,
)
def doctor(
    answer: Answer,
    spec: str | None,
    overrides: tuple[str, ...],
    address: str | None,
    storage: str,
    tracking_uri: str | None,
    timeout: float,
    as_json: bool,
) -> int:
    """Check what this machine, or a cluster, lacks for a sweep; with SPEC, for that one. Exit code 1: a sweep would fail."""
    from orchestrator.doctor import view
    from orchestrator.doctor.checkup import Checkup, diagnose
    from orchestrator.tracking.connection import tracking_uri as chosen_uri

    with _progress() as progress:
        progress("reading the sweep" if spec else "looking at this machine")
        plan, faults = _planned(spec, overrides)
        subject = Checkup(storage, chosen_uri(tracking_uri), address, plan, faults, timeout, progress).run()
        found = diagnose(subject)
    if as_json:
        answer.json(view.document(subject, found))
    else:
        answer.show(*view.tables(subject, found))
    return DONE if view.healthy(found) else NO


def _planned(spec: str | None, overrides: tuple[str, ...]) -> tuple[Any, tuple[Fault, ...]]:
    """Return the plan of a sweep, or its faults: the machines can be checked in spite of them."""
    from orchestrator.catalog import InstalledCatalog
    from orchestrator.plan import load_plan

    if spec is None:
        if overrides:
            raise click.UsageError("--set changes a sweep file, and none is given")
        return None, ()
    try:
        return load_plan(spec, InstalledCatalog(), overrides), ()
    except SpecError as error:
        return None, error.faults


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Show on stderr what is being done: in one place on a terminal, as lines elsewhere."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda text: click.echo(f"fairsweep: {text}", err=True)
        return
    with console.status("") as status:
        yield lambda text: status.update(f"{text} ...")
