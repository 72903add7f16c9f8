"""The leaderboard inside the MLflow server, on its port and under its login."""
