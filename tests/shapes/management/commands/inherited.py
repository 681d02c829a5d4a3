"""A job whose class is that of another app's command."""

from tests.probes.management.commands.probe import Command

__all__ = ["Command"]
