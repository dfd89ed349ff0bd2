"""Health checks of a bake, one file per kind."""
