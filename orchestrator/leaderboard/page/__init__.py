"""The leaderboard as one web page that asks nothing of any server but the one it comes from."""

from orchestrator.leaderboard.page.assembly import html

__all__ = ["html"]
