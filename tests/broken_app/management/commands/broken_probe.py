"""A command whose module cannot be imported."""

raise ImportError("no module named flux_capacitor")
