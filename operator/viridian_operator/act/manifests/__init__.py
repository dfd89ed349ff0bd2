"""Pure builders: spec, owner and action in, manifest out."""
