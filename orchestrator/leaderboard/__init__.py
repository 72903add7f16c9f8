"""The leaderboard: rows computed from MLflow records, and the forms in which they are shown."""
