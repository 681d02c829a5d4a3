"""The messages that a worker takes from its broker, and what becomes of those that it cannot process."""
