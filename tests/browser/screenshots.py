"""Takes the README's pictures of the leaderboard: `python -m tests.browser.screenshots`.

The page from a real server in light and dark, and the same page as a file. Sizes are fixed, so that the same runs give the same
pictures: those of a sweep with made-up scores, or with `--tracking-uri URI --sweep NAME` those of a real one.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from orchestrator.leaderboard.page import html
from tests.browser.small_sweep import SmallSweep, plan_of
from tests.services.browser import Browser, missing
from tests.services.tracking_server import TrackingServer

EXAMPLE = """
name: example
models: [micro-llama]
tasks: [squad, copa]
data: {source: embedded, train: 8, selection: 4, test: 8}
methods:
  lora: {rank: [1, 2, 4, 8]}
  lorta: {rank: [2, 4, 8]}
  vera: {rank: 16}
  ia3: {}
targets: [q, v]
grid: {learning_rate: [1.0e-4, 1.0e-3, 1.0e-2]}
training: {steps: 4, batch_size: 2, max_length: 64, checkpoint: {best: metric, evaluations: 2}}
seeds: {select: [100], report: [0, 1, 2, 3, 4]}
"""
SIZE = (1200, 1420)
OUT = Path(__file__).parents[2] / "docs" / "screenshots"
LARGEST_BYTES = 300_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Take the pictures; return an exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tracking-uri", metavar="URI", help="a database, such as sqlite:////path/mlflow.db")
    parser.add_argument("--sweep", default="example", metavar="NAME")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(arguments)
    if reason := missing():
        print(reason, file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        uri = options.tracking_uri or made_up(Path(folder))
        with TrackingServer(uri, auth=False, app="fairsweep") as server, Browser() as browser:
            pictures = taken(browser, f"{server.uri}/leaderboard", options.sweep)
    for name, picture in pictures.items():
        (options.out / f"{name}.png").write_bytes(picture)
        print(f"{options.out / name}.png: {len(picture):,} bytes")
    return int(any(len(picture) > LARGEST_BYTES for picture in pictures.values()))


def made_up(folder: Path) -> str:
    """Fill a tracking store with the sweep `example`; return its URI."""
    uri = f"sqlite:///{folder}/mlflow.db"
    SmallSweep(plan_of(EXAMPLE), folder / "outcomes").deliver(uri)
    return uri


def taken(browser: Browser, address: str, sweep: str) -> dict[str, bytes]:
    """Return the pictures by name."""
    with urllib.request.urlopen(f"{address}/document?sweep={sweep}", timeout=300) as answer:
        document = json.load(answer)
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"{sweep}.html"
        file.write_text(html(document), encoding="utf-8")
        return {
            "page-light": picture(browser, f"{address}?sweep={sweep}", "light"),
            "page-dark": picture(browser, f"{address}?sweep={sweep}", "dark"),
            "file": picture(browser, file.as_uri(), "light"),
        }


def picture(browser: Browser, address: str, scheme: str) -> bytes:
    """Return what a window shows of a page, as PNG."""
    watched = browser.page(SIZE, color_scheme=scheme)
    watched.page.goto(address)
    watched.page.locator("#ranking").wait_for()
    for chart in watched.page.locator("#fronts .chart").all():
        chart.scroll_into_view_if_needed()
        chart.locator("svg").wait_for()
    watched.page.evaluate("scrollTo(0, 0)")
    if watched.complaints:
        raise RuntimeError(f"{address}: {watched.complaints}")
    return bytes(watched.page.screenshot(animations="disabled", caret="hide"))


if __name__ == "__main__":
    sys.exit(main())
