"""Commands on sweep files: plan, run, clean."""

from __future__ import annotations

import sys

import click

from orchestrator.cli.command import (
    DONE,
    INTERRUPTED,
    NO,
    Answer,
    command,
    json_option,
    set_option,
    storage_option,
    tracking_option,
)


@command(click.argument("spec"), set_option, json_option)
def plan(answer: Answer, spec: str, overrides: tuple[str, ...], as_json: bool) -> int:
    """Show what a sweep would run, and certify that it is fair; trains nothing. SPEC is a file or a study's name."""
    from orchestrator import tables
    from orchestrator.catalog import InstalledCatalog
    from orchestrator.plan import load_plan

    made = load_plan(spec, InstalledCatalog(), overrides)
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
    as_json: bool,
) -> int:
    """Run a sweep, or continue it: what has finished is not repeated. SPEC is a file or a study's name."""
    from rich.console import Console

    from orchestrator.catalog import InstalledCatalog
    from orchestrator.display import SweepDisplay
    from orchestrator.plan import load_plan
    from orchestrator.report import RunReport
    from orchestrator.sweep.runner import Runner, sweep_documents
    from orchestrator.tracking.connection import tracking_uri as chosen_uri

    made = load_plan(spec, InstalledCatalog(), overrides)
    uri = chosen_uri(tracking_uri)
    with SweepDisplay(Console(stderr=True), len(made.trials) + made.report_count, made.main_metrics) as display:
        result = Runner(made, storage, uri, display, sweep_documents(made), address, retry_failed).run()
    report = RunReport(made, result, uri)
    for line in report.warnings():
        click.echo(f"fairsweep: {line}", err=True)
    if result.interrupted:
        click.echo(f"fairsweep: interrupted; what has finished is saved. To continue, run: {report.command(sys.argv)}", err=True)
        return INTERRUPTED
    if as_json:
        answer.json(report.to_json())
    else:
        answer.show(*report.renderables())
    return NO if result.failed else DONE


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
