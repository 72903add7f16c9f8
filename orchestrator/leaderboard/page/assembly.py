"""The page as one text: the template with its style, scripts, charting library and document inlined."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from orchestrator.leaderboard.page.bundle import charting_bundle
from orchestrator.leaderboard.page.embedding import embedded, fitted
from orchestrator.leaderboard.page.policy import content_policy

STYLES = ("colours.css", "base.css", "frame.css", "table.css", "ranking.css", "detail.css", "sections.css", "print.css")
SCRIPTS = (
    "text.js",
    "elements.js",
    "state.js",
    "palette.js",
    "board.js",
    "verdict.js",
    "intervals.js",
    "sortable.js",
    "detail.js",
    "ranking.js",
    "filters.js",
    "charts.js",
    "choices.js",
    "labels.js",
    "fronts.js",
    "ladders.js",
    "tuning.js",
    "grids.js",
    "axes.js",
    "learning.js",
    "comparisons.js",
    "hardware.js",
    "published.js",
    "certificate.js",
    "reading.js",
    "live.js",
    "page.js",
)
"""Joined in this order into one scope, so that each may use what stands in those before it."""

LARGEST = 5_000_000
"""Bytes of a file."""


def html(document: Mapping[str, Any], *, live: bool = False) -> str:
    """Return the leaderboard page of a document.

    Args:
        document: what `Board.to_json` returns; also read are `running`, `state` and `experiment_id`.
        live: whether a server hands the page out, which then asks that server for newer documents and links to its runs.
    """
    style, script, charts, template = style_sheet(), page_script(), charting_bundle(), _static("template.html")
    room = LARGEST - len((style + script + charts + template).encode()) - 2_000
    return Template(template).substitute(
        policy=escape(page_policy(live)),
        mode="live" if live else "file",
        title=escape(_title(document)),
        style=style,
        document=embedded(document) if live else fitted(document, room),
        charts=charts,
        script=script,
    )


@cache
def page_policy(live: bool) -> str:
    """Return the content policy of the page; a server sends it as a header as well, for who may frame the page."""
    return content_policy(scripts=(charting_bundle(), page_script()), styles=(style_sheet(),), live=live)


@cache
def style_sheet() -> str:
    """Return the style of the page."""
    return "\n".join(map(_static, STYLES))


@cache
def page_script() -> str:
    """Return the page's own script: one scope, none of whose names are global."""
    body = "\n".join(map(_static, SCRIPTS))
    return f'"use strict";\n(() => {{\n{body}\n}})();'


def _title(document: Mapping[str, Any]) -> str:
    name = "".join(c if c.isprintable() else " " for c in str(document.get("sweep") or "no sweep")[:120])
    return f"{name} · leaderboard"


def _static(name: str) -> str:
    return files(__package__).joinpath("static", name).read_text(encoding="utf-8")
