"""Benchmarks against the alternatives that a user would choose. See README.md."""
