"""The two schedulers that are compared."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A scheduler to measure, and what its processes are started with."""

    name: str
    title: str
    settings: str
    adapter: str
    """The module with its ``Adapter``, which only its own processes can import."""


OURS = Candidate(name="ours", title="this scheduler", settings="proj.settings", adapter="benchmarks.ours")
STOCK = Candidate(
    name="stock",
    title="django-celery-beat",
    settings="benchmarks.stock_settings",
    adapter="benchmarks.stock",
)
CANDIDATES = {candidate.name: candidate for candidate in (OURS, STOCK)}
