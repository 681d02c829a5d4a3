"""``normalize_emails`` lower-cases as Python does, and writes only rows that change."""

import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection
from hypothesis import given
from hypothesis import strategies as st

from tasks_app.management.commands import normalize_emails
from tasks_app.management.commands.normalize_emails import normalized
from tests.unit.builders import make_user, output_of

pytestmark = pytest.mark.django_db

Execute = Callable[[str, Any, bool, dict[str, Any]], Any]


def make_users(*emails: str) -> None:
    for email in emails:
        make_user(email)


def emails() -> list[str]:
    return list(get_user_model()._default_manager.order_by("pk").values_list("email", flat=True))


class WatchedWrites:
    """Intercepts each statement that writes, and collects the addresses in it."""

    def __init__(self, before: Callable[[int], object] = lambda number: None) -> None:
        self.batches: list[Sequence[str]] = []
        self.ranges: list[tuple[Any, Any]] = []
        self._before = before

    def __call__(self, execute: Execute, sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if sql.startswith("UPDATE") and "AS changed" in sql:
            *values, first, last = params
            if connection.vendor == "postgresql":
                _keys, *columns = values
                values = [value for column in columns for value in json.loads(column)]
            self.batches.append([value for value in values if isinstance(value, str)])
            if " BETWEEN " in sql:
                self.ranges.append((first, last))
            self._before(len(self.batches))
        return execute(sql, params, many, context)


def test_emails_are_trimmed_and_lower_cased() -> None:
    make_users("  Anna@Example.COM ", "bob@example.com", "\tCarl@example.com\n")
    assert output_of("normalize_emails") == "checked 3 / changed 2 (commit)\n"
    assert emails() == ["anna@example.com", "bob@example.com", "carl@example.com"]


def test_the_dry_run_counts_and_writes_nothing() -> None:
    make_users(" Anna@Example.COM ", "bob@example.com")
    assert output_of("normalize_emails", "--dry-run") == "checked 2 / changed 1 (dry)\n"
    assert emails() == [" Anna@Example.COM ", "bob@example.com"]


def test_running_it_again_changes_nothing() -> None:
    make_users(" Anna@Example.COM ")
    output_of("normalize_emails")
    assert output_of("normalize_emails") == "checked 1 / changed 0 (commit)\n"


def test_it_works_without_users() -> None:
    assert output_of("normalize_emails") == "checked 0 / changed 0 (commit)\n"


@pytest.mark.parametrize(
    "email",
    ["İPEK@EXAMPLE.COM", "GROẞ@EXAMPLE.COM", "ΟΔΥΣΣΕΥΣ@EXAMPLE.COM", "ÉCOLE@ÖL.DE", "\u00a0A@B.DE\u2003"],
)
def test_other_letters_are_lower_cased_as_in_python(email: str) -> None:
    make_users(email)
    output_of("normalize_emails")
    assert emails() == [email.strip().lower()]


@pytest.mark.parametrize(
    "email", ['"A \\ B"@C.DE', "{A,NULL}@B.DE", "A'%s@B.DE", "A\x1f\n\t@B.DE", "😀@B.DE"]
)
def test_characters_that_mean_something_to_the_database_are_kept(email: str) -> None:
    make_users(email)
    output_of("normalize_emails")
    assert emails() == [email.lower()]


@given(st.text())
def test_normalized_addresses_stay_as_they_are(email: str) -> None:
    assert normalized(normalized(email)) == normalized(email)


def test_only_rows_that_change_are_written() -> None:
    make_users("A@b.de", "c@d.de", "E@f.de")
    watched = WatchedWrites()
    with connection.execute_wrapper(watched):
        output_of("normalize_emails")
    assert [set(batch) for batch in watched.batches] == [{"A@b.de", "a@b.de", "E@f.de", "e@f.de"}]


def test_a_batch_with_nothing_to_change_is_not_written() -> None:
    make_users("a@b.de", "c@d.de", "E@f.de")
    watched = WatchedWrites()
    with connection.execute_wrapper(watched):
        output_of("normalize_emails", "--batch-size=2")
    assert len(watched.batches) == 1


def test_a_batch_too_large_for_one_statement_is_written_by_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normalize_emails, "ROWS_PER_STATEMENT", 2)
    make_users(*(f"User{number}@b.de" for number in range(5)))
    watched = WatchedWrites()
    with connection.execute_wrapper(watched):
        assert output_of("normalize_emails") == "checked 5 / changed 5 (commit)\n"
    assert len(watched.batches) == 3
    assert emails() == [f"user{number}@b.de" for number in range(5)]


def test_each_statement_is_limited_to_the_range_of_its_users() -> None:
    make_users("a@b.de", " B@b.de", " C@b.de", " D@b.de", "e@b.de", " F@b.de")
    keys = list(get_user_model().objects.order_by("pk").values_list("pk", flat=True))
    writes = WatchedWrites()
    with connection.execute_wrapper(writes):
        output_of("normalize_emails", "--batch-size=4")
    assert writes.ranges == [(keys[1], keys[3]), (keys[5], keys[5])]


def test_batches_of_any_size_reach_every_user() -> None:
    make_users(*(f"User{number}@b.de" for number in range(7)))
    assert output_of("normalize_emails", "--batch-size=3") == "checked 7 / changed 7 (commit)\n"
    assert emails() == [f"user{number}@b.de" for number in range(7)]


def test_if_a_batch_fails_earlier_ones_are_kept_and_the_next_run_continues() -> None:
    def fail_second(number: int) -> None:
        if number == 2:
            raise DatabaseError("the disk is full")

    make_users("A@b.de", "B@b.de", "C@b.de")
    with connection.execute_wrapper(WatchedWrites(fail_second)), pytest.raises(DatabaseError):
        output_of("normalize_emails", "--batch-size=1")
    assert emails() == ["a@b.de", "B@b.de", "C@b.de"]
    assert output_of("normalize_emails", "--batch-size=1") == "checked 3 / changed 2 (commit)\n"


@pytest.mark.django_db(transaction=True)
def test_each_batch_is_written_in_its_own_transaction() -> None:
    make_users("A@b.de", "B@b.de")
    seen = []

    def watch(execute: Execute, sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if "auth_user" in sql:
            seen.append((sql.split(maxsplit=1)[0], connection.in_atomic_block))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(watch):
        output_of("normalize_emails", "--batch-size=1")
    batch = [("SELECT", False), ("UPDATE", True)]
    assert seen == [*batch, *batch, ("SELECT", False)]


def test_concurrent_changes_are_kept() -> None:
    make_users("Old@b.de", "Other@b.de")
    user = get_user_model()._default_manager.order_by("pk").first()
    assert user is not None

    def change_it_first(number: int) -> None:
        get_user_model()._default_manager.filter(pk=user.pk).update(email="New@b.de")

    with connection.execute_wrapper(WatchedWrites(change_it_first)):
        assert output_of("normalize_emails") == "checked 2 / changed 1 (commit)\n"
    assert emails() == ["New@b.de", "other@b.de"]


def test_batches_are_reported_at_verbosity_2() -> None:
    make_users("A@b.de", "b@b.de", "C@b.de")
    lines = output_of("normalize_emails", "--batch-size=2", "--verbosity=2").splitlines()
    assert [line.partition(": ")[2] for line in lines[:-1]] == [
        "checked 2 / changed 1",
        "checked 3 / changed 2",
    ]


def test_an_address_that_would_be_too_long_is_left_alone_and_reported() -> None:
    too_long = "İ" * 250 + "@b.d"
    make_users(too_long, "A@b.de")
    stderr = io.StringIO()
    call_command("normalize_emails", stdout=io.StringIO(), stderr=stderr)
    assert emails() == [too_long, "a@b.de"]
    assert "would be too long" in stderr.getvalue()


@pytest.mark.parametrize("size", ["0", "-1", "100001", "many"])
def test_an_absurd_batch_size_is_rejected(size: str) -> None:
    with pytest.raises(CommandError, match="argument --batch-size"):
        call_command("normalize_emails", f"--batch-size={size}")
