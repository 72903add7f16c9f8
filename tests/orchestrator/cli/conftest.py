"""Commands in an empty folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestrator.cli import cli


@dataclass
class Done:
    """What a command left."""

    returncode: int
    stdout: str
    stderr: str

    def refuses(self, *words: str) -> None:
        """Make sure that it is bad input, answered by one message with these words."""
        assert self.returncode == 2, (self.returncode, self.stderr)
        assert not self.stdout and "Traceback" not in self.stderr
        for word in words:
            assert word in self.stderr, self.stderr


@pytest.fixture
def fairsweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Runs a command in an empty folder, in this process: a new one costs seconds of imports each time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(*arguments: str) -> Done:
        result = CliRunner().invoke(cli, list(arguments), prog_name="fairsweep")
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return Done(result.exit_code, result.stdout, result.stderr)

    return run
