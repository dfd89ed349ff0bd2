"""The whole loop on a real cluster: pods that train, serve, crash and are switched under load."""
