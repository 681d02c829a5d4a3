"""The process that measures one scheduler; ``benchmarks.scheduler`` starts it."""

import argparse
from importlib import import_module

import django

from benchmarks.scheduler.candidates import CANDIDATES
from benchmarks.scheduler.figures import Figures


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(prog="benchmarks.scheduler.measure")
    parser.add_argument("action", choices=("fill", "steady", "burst"))
    parser.add_argument("candidate", choices=CANDIDATES)
    parser.add_argument("--size", type=int, default=0)
    parser.add_argument("--copies", type=int, default=0, help="how often the database copies these schedules")
    parser.add_argument("--together", action="store_true")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--in-full", action="store_true")
    django.setup()
    _figures(parser.parse_args()).send()


def _figures(options: argparse.Namespace) -> Figures:
    # Imports models.
    from benchmarks.scheduler import measurements

    adapter = import_module(CANDIDATES[options.candidate].adapter).ADAPTER
    if options.action == "fill":
        return measurements.filled(
            adapter, options.size, is_due_together=options.together, copies=options.copies
        )
    if options.action == "steady":
        return measurements.steady(adapter, options.repeat)
    return measurements.burst(adapter, is_in_full=options.in_full)


if __name__ == "__main__":
    main()
