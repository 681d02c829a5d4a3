"""What a number of runs needs: computed from what single parts were measured to cost.

``planning`` is pure. ``measuring`` writes ``costs.json``, from which it computes.
"""
