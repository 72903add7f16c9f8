"""`python -m orchestrator.cli` is `fairsweep`."""

from orchestrator.cli import main

main()
