"""The service's own processes, beats and workers: which are running, their code, and the queues they read."""
