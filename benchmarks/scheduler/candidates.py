"""The schedulers to compare."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A scheduler to measure, and the settings of its processes."""

    name: str
    title: str
    settings: str
    adapter: str
    """The module of its ``Adapter``, which can only be imported with these settings."""


OURS = Candidate(
    name="ours", title="this scheduler", settings="proj.settings", adapter="benchmarks.scheduler.ours"
)
STOCK = Candidate(
    name="stock",
    title="django-celery-beat",
    settings="benchmarks.scheduler.stock_settings",
    adapter="benchmarks.scheduler.stock",
)
CANDIDATES = {candidate.name: candidate for candidate in (OURS, STOCK)}
