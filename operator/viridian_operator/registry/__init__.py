"""MLflow's model registry over REST."""
