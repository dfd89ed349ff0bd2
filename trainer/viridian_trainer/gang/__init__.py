"""Several processes that train one model together: the ranks of a gang, started by torchrun."""
