"""A row of the table: what is measured, and the figures that come of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

T = TypeVar("T")


class NotMeasuredError(Exception):
    """Something that only this row needs is missing; the text says what."""


class DeadlineError(Exception):
    """A row took too long, and was given up."""


class Of(Enum):
    """What a target is about."""

    RATIO = "ratio"
    VALUE = "value"


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a figure should be: a limit of its ratio to the peer's, or of its own value."""

    limit: float
    of: Of = Of.RATIO
    is_minimum: bool = False

    def is_met(self, value: float) -> bool:
        return value >= self.limit if self.is_minimum else value <= self.limit

    def __str__(self) -> str:
        bound = f"{'≥' if self.is_minimum else '≤'} {self.limit:g}"
        return f"ratio {bound}" if self.of is Of.RATIO else bound


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the table."""

    title: str
    """What was measured, with its unit."""
    here: float
    peer: float | None = None
    peer_title: str = ""
    target: Target | None = None

    @property
    def ratio(self) -> float | None:
        """How many times the peer's figure this is; None without a peer."""
        return self.here / self.peer if self.peer else None

    @property
    def is_met(self) -> bool | None:
        """Whether it meets its target; None if it has none, or if there is nothing to compare it to."""
        if self.target is None:
            return None
        value = self.here if self.target.of is Of.VALUE else self.ratio
        return None if value is None else self.target.is_met(value)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much to measure, and with which databases."""

    databases: Sequence[str]
    is_smoke: bool = False
    """As little as possible, to see whether it works; the figures mean nothing."""

    def size(self, full: T, smoke: T) -> T:
        return smoke if self.is_smoke else full


Measure = Callable[[Plan, str], Iterator[Figure]]


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is measured with each of the databases that the row and the plan have in common."""

    name: str
    databases: Sequence[str]
    measure: Measure
    """Yields the figures for a database."""
    deadline_seconds: int = 1200
    """For each database. Most rows take one to five minutes on two cores that have nothing else to do."""
