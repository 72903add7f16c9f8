"""What a board shows beside its rows, one file per noun of `orchestrator.leaderboard.analysis`."""
