"""Formats the comparison as Markdown tables, and as JSON."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from statistics import median

from benchmarks.scheduler.candidates import OURS, STOCK
from benchmarks.scheduler.comparison import Comparison
from benchmarks.scheduler.figures import Burst, Steady


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the table by number of schedules."""

    title: str
    value: Callable[[Steady], float]
    has_stock: bool = True


def memory_mib(figures: Steady) -> float:
    """The memory for schedules."""
    return figures.memory_after_mib - figures.memory_before_mib


def save_known_seconds(figures: Steady) -> float:
    """The worst case until beat notices a ``save()``: beat has just gone to sleep."""
    return figures.sleep_seconds + figures.tick_after_save_ms / 1000


def update_known_seconds(figures: Steady) -> float:
    """The worst case for a change without a signal: its slice has just been checked."""
    pass_seconds = figures.slice_count * figures.sleep_seconds + figures.pass_ms / 1000
    last_ms = figures.slice_ms or figures.tick_after_save_ms
    return max(figures.sweep_interval_seconds, pass_seconds) + figures.sleep_seconds + last_ms / 1000


ROWS = (
    Row(title="idle tick, ms", value=lambda figures: figures.idle_tick_ms),
    Row(title="tick with one due, ms", value=lambda figures: figures.one_due_tick_ms),
    Row(title="start, with the first tick, ms", value=lambda figures: figures.start_seconds * 1000),
    Row(title="memory for the schedules, MiB", value=memory_mib),
    Row(title="memory of the process, MiB", value=lambda figures: figures.memory_after_mib),
    Row(title="an edit: `save()`, ms", value=lambda figures: figures.save_ms),
    Row(title="an edit: the next tick, ms", value=lambda figures: figures.tick_after_save_ms),
    Row(title="delay until an edit is noticed, at most, s", value=save_known_seconds),
    Row(title="delay until an `update()` is noticed, at most, s", value=update_known_seconds),
    Row(
        title="slowest slice of a reconciliation, ms", value=lambda figures: figures.slice_ms, has_stock=False
    ),
    Row(title="whole reconciliation, ms", value=lambda figures: figures.pass_ms, has_stock=False),
)


BURST_ROWS: tuple[tuple[str, Callable[[Burst], float]], ...] = (
    ("time until all messages are in Redis, s", lambda figures: figures.seconds),
    ("CPU time of the process, s", lambda figures: figures.processor_seconds),
    ("peak memory of the process, MiB", lambda figures: figures.memory_peak_mib),
)


def markdown(comparison: Comparison) -> str:
    head = f"{comparison.machine}. Medians of {comparison.plan.repeat} or more."
    return "\n".join((head, "", *_steady(comparison), "", *_burst(comparison)))


def as_json(comparisons: Iterable[Comparison]) -> str:
    return json.dumps([asdict(comparison) for comparison in comparisons], indent=2)


def _steady(comparison: Comparison) -> Iterator[str]:
    sizes = comparison.plan.sizes
    yield _line("schedules", "", (f"{size:,}" for size in sizes))
    yield _line("---", "---", ("---:" for _ in sizes))
    for row in ROWS:
        yield from _lines(comparison, row)
    adopted = (comparison.filled[OURS.name][size].adopted_seconds for size in sizes)
    yield _line("noticing this many new ones at once, s", OURS.title, map(_number, adopted))


def _lines(comparison: Comparison, row: Row) -> Iterator[str]:
    sizes = comparison.plan.sizes
    ours = [row.value(comparison.steady[OURS.name][size]) for size in sizes]
    yield _line(row.title, OURS.title, map(_number, ours))
    if row.has_stock:
        stock = [row.value(comparison.steady[STOCK.name][size]) for size in sizes]
        yield _line("", STOCK.title, map(_number, stock))
        yield _line("", "ratio", map(_ratio, ours, stock))


def _burst(comparison: Comparison) -> Iterator[str]:
    if not comparison.burst:
        return
    ours, stock = comparison.burst[OURS.name], comparison.burst[STOCK.name]
    yield _line(f"{comparison.plan.burst:,} due in the same second", OURS.title, (STOCK.title, "ratio"))
    yield _line("---", "---:", ("---:", "---:"))
    for title, value in BURST_ROWS:
        pairs = [(value(one), value(other)) for one, other in zip(ours, stock, strict=True)]
        medians = [_number(median(values)) for values in zip(*pairs, strict=True)]
        ratio = _number(median(other / one for one, other in pairs))
        yield _line(title, medians[0], (medians[1], ratio))
    yield _line("number measured", f"{ours[0].measured_on:,}", (f"{stock[0].measured_on:,}", ""))


def _line(first: str, second: str, others: Iterable[str]) -> str:
    return f"| {' | '.join((first, second, *others))} |"


def _number(value: float) -> str:
    return f"{value:,.1f}" if abs(value) < 100 else f"{value:,.0f}"


def _ratio(ours: float, stock: float) -> str:
    """How many times as much the stock scheduler takes."""
    return _number(stock / ours) if ours > 0 else ""
