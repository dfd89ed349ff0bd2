"""The Kubernetes API as the control plane needs it."""
