"""What is written to a terminal or a log: whole lines of text, no secret, no control code."""

from __future__ import annotations

import io
import logging
import sys

import pytest
from rich.console import Console

from orchestrator import tables
from orchestrator.fairness import Certificate
from orchestrator.fairness.rule import Rule
from orchestrator.output import SafeFormatter, safe

HOSTILE = "[red]x[/red]\x1b[31m\x9b1m\x07\u202e|=1+1"


def test_lines_stay_and_control_codes_go() -> None:
    assert safe("one\n\ttwo") == "one\n\ttwo"
    assert not {"\x1b", "\x9b", "\x07", "\u202e"} & set(safe(HOSTILE))


def test_log_messages_and_their_stack_traces_name_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_planted_0aB")
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(SafeFormatter("%(message)s"))
    try:
        raise RuntimeError("401 for hf_planted_0aB")
    except RuntimeError:
        record = logging.LogRecord("x", logging.ERROR, "file", 1, "no login with %s", ("hf_planted_0aB",), sys.exc_info())
    handler.emit(record)
    assert "no login with ***" in stream.getvalue() and "RuntimeError: 401 for ***" in stream.getvalue()
    assert "planted" not in stream.getvalue()


def test_tables_show_names_and_never_obey_them() -> None:
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)
    rule = Rule("F1", HOSTILE, ok=False, evidence={"deviations": [HOSTILE], "marks": {HOSTILE: HOSTILE}})
    rows = [*tables.certificate(Certificate((rule,)), [HOSTILE]), tables.listing([{"name": HOSTILE}]), tables.document({HOSTILE: HOSTILE})]
    for renderable in (*rows, tables.line(HOSTILE)):
        console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    output = console.file.getvalue().replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert output.count("[red]x[/red]") >= 8
    assert not {"\x9b", "\x07", "\u202e"} & set(output) and "\x1b[31m" not in output
