"""The command line: reads arguments, prints answers. The only package that prints; everything heavy is imported inside a command."""

from orchestrator.cli import cluster, doctor, files, importing, inventory, results, sweeps
from orchestrator.cli.command import cli, main

__all__ = ["cli", "cluster", "doctor", "files", "importing", "inventory", "main", "results", "sweeps"]
