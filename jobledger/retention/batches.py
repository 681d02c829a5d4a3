"""Deletes many rows without getting in anybody's way: in short transactions, with a pause after each.

On SQLite, all other writers wait while a transaction writes. On PostgreSQL, they only wait for the same rows,
but a long transaction would keep the tables from being vacuumed. So the size of a batch follows from how long
the last one took, and the pauses let others have their turn: SQLite does not queue them.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from django.db import IntegrityError, connection, transaction
from django.db.models import Model, QuerySet, Sum
from django.db.models.functions import Length
from django.db.models.signals import post_delete, pre_delete

from jobledger.models import Run, RunOutput
from jobledger.paging import is_after

TARGET_SECONDS = 0.04
"""How long a transaction should take. It may take more than twice as long when the machine is busy."""
MIN_WEIGHT, FIRST_WEIGHT, MAX_WEIGHT = 25, 50, 900
"""Every transaction has a cost of its own: with even fewer rows, it would be most of it."""
BYTES_PER_WEIGHT = 4096
"""A page of the database: that much output costs about as much as a row."""
PAGE = 900
"""Rows that are read at a time. Before version 3.32, SQLite takes no more than 999 values."""


@dataclass(frozen=True, kw_only=True)
class Weighed:
    """A row to delete, and what that costs, in rows of ordinary size."""

    pk: Any
    weight: int = 1
    is_referenced: bool = False
    """Whether other rows refer to it, which go with it or have to forget it."""


class Bin(Protocol):
    """What happens to rows that are not kept: they are deleted, or only counted."""

    def discard(self, model: type[Model], pks: Sequence[Any]) -> None:
        """Discard these rows, and those that belong to them."""


class Deletion:
    """Deletes the rows, with what belongs to them."""

    def __init__(self) -> None:
        self._batches: dict[type[Model], Batches] = {}
        self.output_bytes = 0

    @property
    def longest_seconds(self) -> float:
        """The longest transaction so far."""
        return max((each.longest_seconds for each in self._batches.values()), default=0.0)

    def discard(self, model: type[Model], pks: Sequence[Any]) -> None:
        if model is Run:
            self._discard_output(pks)
        referenced = _referenced(model, pks)
        weighed = [Weighed(pk=pk, is_referenced=pk in referenced) for pk in pks]
        self._of(model).delete(weighed)

    def _discard_output(self, pks: Sequence[Any]) -> None:
        """Beforehand, since the output of a single run may take longer than a batch."""
        has_more = True
        while has_more:
            # To look once more whether there are any would read as much of the index again.
            chunks = _chunks(pks)
            has_more = len(chunks) > PAGE
            self.output_bytes += sum(length for _, length in chunks)
            weighed = [Weighed(pk=pk, weight=1 + length // BYTES_PER_WEIGHT) for pk, length in chunks]
            self._of(RunOutput).delete(weighed)

    def _of(self, model: type[Model]) -> "Batches":
        return self._batches.setdefault(model, Batches(model))


class Count:
    """Deletes nothing."""

    def __init__(self) -> None:
        self.output_bytes = 0

    def discard(self, model: type[Model], pks: Sequence[Any]) -> None:
        if model is Run:
            output = RunOutput.objects.filter(run__in=pks)
            self.output_bytes += output.aggregate(total=Sum(Length("text")))["total"] or 0


class Batches:
    """Deletes rows of one table, as many at a time as fit into the time for a transaction."""

    def __init__(self, model: type[Model]) -> None:
        self._model = model
        self._weight = float(FIRST_WEIGHT)
        self.longest_seconds = 0.0

    def delete(self, rows: Sequence[Weighed]) -> None:
        """Delete the rows. If it is interrupted, whole batches are gone, and the rest is left."""
        rest = list(rows)
        while rest:
            count = self._count_of_next(rest)
            seconds = self._delete(rest[:count])
            self._adapt(sum(row.weight for row in rest[:count]), seconds)
            del rest[:count]
            time.sleep(seconds)

    def _count_of_next(self, rows: Sequence[Weighed]) -> int:
        weight = 0
        for count, row in enumerate(rows):
            weight += row.weight
            if weight > self._weight:
                return max(count, 1)
        return len(rows)

    def _delete(self, rows: Sequence[Weighed]) -> float:
        try:
            return self._delete_in_time(rows)
        except IntegrityError:
            # Something refers to one of the rows since they were looked at.
            return self._delete_in_time([replace(row, is_referenced=True) for row in rows])

    def _delete_in_time(self, rows: Sequence[Weighed]) -> float:
        with transaction.atomic():
            # On SQLite, it has waited for other writers until here.
            began = time.monotonic()
            if plain := [row.pk for row in rows if not row.is_referenced]:
                _delete_plainly(self._model, plain)
            if referenced := [row.pk for row in rows if row.is_referenced]:
                # With all fields, which signal handlers may read when the row is gone.
                self._model._default_manager.filter(pk__in=referenced).delete()
        seconds = time.monotonic() - began
        self.longest_seconds = max(self.longest_seconds, seconds)
        return seconds

    def _adapt(self, weight: int, seconds: float) -> None:
        fitting = weight * TARGET_SECONDS / max(seconds, 1e-6)
        if seconds > TARGET_SECONDS:
            self._weight = max(fitting, MIN_WEIGHT)
        elif weight > self._weight / 2:
            # A batch that happened to be fast says little, and a small one nothing.
            self._weight = min(max(fitting, self._weight), self._weight * 1.5, MAX_WEIGHT)


def pages(rows: QuerySet[Any], time_field: str, *fields: str) -> Iterator[list[tuple[Any, ...]]]:
    """The keys, times and other fields, oldest first, while the rows of earlier pages are being deleted.

    Each page continues after the last one: looking from the start again would pass all that was deleted,
    which PostgreSQL's indexes still contain.
    """
    rest = rows
    while found := list(rest.order_by(time_field, "pk").values_list("pk", time_field, *fields)[:PAGE]):
        yield found
        pk, last, *_ = found[-1]
        rest = rows.filter(is_after(time_field, last, pk))


def _chunks(pks: Sequence[Any]) -> list[tuple[int, int]]:
    """A page of chunks of these runs' output, with their lengths, and one more if there are more.

    Not in order: PostgreSQL might look for them in the index of all chunks.
    """
    chunks = RunOutput.objects.filter(run__in=pks).order_by()
    return list(chunks.values_list("pk", Length("text"))[: PAGE + 1])


def _referenced(model: type[Model], pks: Sequence[Any]) -> set[Any]:
    """The rows that others refer to; all of them, if a project wants to hear of each deletion."""
    if any(signal.has_listeners(model) for signal in (pre_delete, post_delete)):
        return set(pks)
    found = set[Any]()
    for relation in model._meta.related_objects:
        field, rows = relation.field.name, relation.field.model._default_manager
        found.update(rows.filter(**{f"{field}__in": pks}).values_list(field, flat=True))
    return found


def _delete_plainly(model: type[Model], pks: Sequence[Any]) -> None:
    """By a single statement: ``QuerySet.delete()`` would query each related table in the transaction, too."""
    quote, key = connection.ops.quote_name, model._meta.pk
    table, column = quote(model._meta.db_table), quote(str(key.column))
    places = ", ".join(["%s"] * len(pks))
    with connection.cursor() as cursor:
        cursor.execute(
            f"DELETE FROM {table} WHERE {column} IN ({places})",  # noqa: S608 - names of the model, and no values
            [key.get_db_prep_value(pk, connection) for pk in pks],
        )
