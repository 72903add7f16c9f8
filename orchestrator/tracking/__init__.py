"""Outcomes to MLflow, exactly once; MLflow back to records. The only package that talks to a tracking server."""
