"""How one trial runs: knows nothing of Ray, MLflow or sweeps."""
