"""A command that may be a job, and imports what is not installed."""

import flux_capacitor  # type: ignore[import-not-found]

Command = flux_capacitor.Command
