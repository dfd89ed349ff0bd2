"""A real Kubernetes on one machine, built from Go modules and Debian packages; for the demo and for tests."""
