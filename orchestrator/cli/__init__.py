"""The command line: reads arguments, prints answers. The only package that prints; everything heavy is imported inside a command."""

from orchestrator.cli import cluster, doctor, files, inventory, results, sweeps
from orchestrator.cli.command import cli, main

__all__ = ["cli", "cluster", "doctor", "files", "inventory", "main", "results", "sweeps"]
