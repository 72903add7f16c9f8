"""Commands on sweeps and their files: plan, run, extend, clean."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from orchestrator.cli.command import (
    DONE,
    INTERRUPTED,
    NO,
    Answer,
    accept_option,
    command,
    json_option,
    reader,
    set_option,
    storage_option,
    tracking_option,
    with_edge,
)


@command(click.argument("spec"), set_option, json_option)
def plan(answer: Answer, spec: str, overrides: tuple[str, ...], as_json: bool) -> int:
    """Show what a sweep would run, and certify that it is fair; trains nothing. SPEC is a file or a study's name."""
    from orchestrator import tables
    from orchestrator.catalog import InstalledCatalog
    from orchestrator.doctor.threads import advice
    from orchestrator.plan import load_plan

    made = load_plan(spec, InstalledCatalog(), overrides)
    for line in advice(made):
        click.echo(f"fairsweep: on this machine, {line}", err=True)
    if as_json:
        answer.json(made.to_json())
    else:
        answer.show(*tables.plan(made))
    return DONE if made.certificate.ok else NO


@command(
    click.argument("spec"),
    set_option,
    click.option("--address", metavar="HOST:PORT", help="Ray cluster; without it the sweep runs on this machine."),
    storage_option,
    tracking_option,
    click.option("--retry-failed", is_flag=True, help="Run trials again that failed."),
    accept_option,
    json_option,
)
def run(
    answer: Answer,
    spec: str,
    overrides: tuple[str, ...],
    address: str | None,
    storage: str,
    tracking_uri: str | None,
    retry_failed: bool,
    accept_edge: bool,
    as_json: bool,
) -> int:
    """Run a sweep, or continue it: what has finished is not repeated. SPEC is a file or a study's name."""
    from rich.console import Console

    from orchestrator.catalog import InstalledCatalog
    from orchestrator.display import SweepDisplay
    from orchestrator.doctor.threads import advice
    from orchestrator.plan import load_plan
    from orchestrator.report import RunReport
    from orchestrator.sweep.runner import Runner, sweep_documents
    from orchestrator.tracking.connection import tracking_uri as chosen_uri

    made = load_plan(spec, InstalledCatalog(), with_edge(overrides, accept_edge))
    uri = chosen_uri(tracking_uri)
    for line in () if address else advice(made):
        click.echo(f"fairsweep: {line}", err=True)
    with SweepDisplay(Console(stderr=True), made.select_count + made.report_count, made.main_metrics) as display:
        result = Runner(made, storage, uri, display, sweep_documents(made), address, retry_failed).run()
    report = RunReport(made, result, uri)
    for line in report.warnings():
        click.echo(f"fairsweep: {line}", err=True)
    for line in () if result.interrupted else report.stop_notice(sys.argv):
        click.echo(f"fairsweep: {line}", err=True)
    if result.interrupted:
        click.echo(f"fairsweep: interrupted; what has finished is saved. To continue, run: {report.command(sys.argv)}", err=True)
        return INTERRUPTED
    if problem := report.publish():
        click.echo(f"fairsweep: {problem}", err=True)
    if as_json:
        answer.json(report.to_json())
    else:
        answer.show(*report.renderables())
    return NO if result.failed or result.stopped_at else DONE


@command(
    click.argument("sweep"),
    click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="The file to write (default: SWEEP-extended.yaml)."),
    tracking_option,
    json_option,
)
def extend(answer: Answer, sweep: str, out: Path | None, tracking_uri: str | None, as_json: bool) -> int:
    """Write the sweep file of SWEEP with its grid one step wider, for all methods, where selected points lie on its edge.

    Exit code 1 when no point does, or every end that one lies on was extended twice. Running the file continues the sweep.
    """
    from orchestrator.extension import extend as extended
    from orchestrator.recorded import load

    source = reader(tracking_uri)
    extension = extended(source, load(source, sweep))
    if extension.steps:
        extension.write(out)
    if as_json:
        answer.json(extension.to_json(out))
    else:
        answer.text("\n".join(extension.lines(out)))
    return DONE if extension.steps else NO


@command(click.argument("sweep"), storage_option, json_option)
def clean(answer: Answer, sweep: str, storage: str, as_json: bool) -> int:
    """Remove what SWEEP left besides its Outcomes: checkpoints and the remains of interrupted trials."""
    from orchestrator.sweep.cleaning import clean as cleaned

    removed = cleaned(storage, sweep)
    if as_json:
        answer.json({"sweep": sweep, "removed": removed})
    else:
        answer.text(f"removed {len(removed)} folders of sweep {sweep}" + "".join(f"\n  {path}" for path in removed))
    return DONE
