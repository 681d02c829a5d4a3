"""Where a connection is kept, PostgreSQL prepares statements; they do the same as elsewhere."""

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from jobledger import compiled, prepared
from jobledger.compiled import Given
from jobledger.models import Run, RunOutput, Status, Stream, Trigger
from jobledger.runs import ledger_connection
from tests.unit.builders import NOON

CHANGES = {"error": "50% of it's lost: %s", "options": {"words": ["a"]}, "finished_at": NOON, "exit_code": 2}
ROW = {"attempt": 1, "number": 0, "stream": Stream.STDERR, "text": "a\nb%", "written_at": NOON}
PREPARED = "SELECT statement FROM pg_prepared_statements"


@pytest.fixture
def kept(transactional_db: None) -> Iterator[BaseDatabaseWrapper]:
    """This thread's connection until the end, on which statements may be prepared."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite prepares each statement anyway")
    usual = connections[DEFAULT_DB_ALIAS]
    connections[DEFAULT_DB_ALIAS] = own = ledger_connection.another(usual)
    prepared.allow(own)
    yield own
    connections[DEFAULT_DB_ALIAS] = usual
    own.close()


def change() -> compiled.UpdateOne[Run]:
    def update() -> tuple[Any, dict[str, Given]]:
        queued = Run.objects.filter(pk=Given.of(Run, "id")).in_state(Status.QUEUED).exclude(job="100%")
        return queued, {name: Given.of(Run, name) for name in CHANGES}

    return compiled.UpdateOne(Run, update)


def made() -> Run:
    return Run.objects.create(job="probe", trigger=Trigger.CLI)


def asked(own: BaseDatabaseWrapper, query: str) -> list[Any]:
    with own.cursor() as cursor:
        cursor.execute(query)
        return [value for (value,) in cursor.fetchall()]


def test_a_statement_is_prepared_once_with_the_given_values_alone_as_parameters(
    kept: BaseDatabaseWrapper,
) -> None:
    statement = change()
    changed = [statement.row(id=made().pk, **CHANGES) for _ in range(3)]
    for run in changed:
        assert run is not None
        assert {name: getattr(run, name) for name in CHANGES} == CHANGES
        stored = Run.objects.get(pk=run.pk)
        assert stored.finished_at == NOON.astimezone(UTC)
        assert {name: getattr(stored, name) for name in CHANGES} == CHANGES
    (text,) = asked(kept, PREPARED)
    assert ("'queued'" in text, "'100%'" in text) == (True, True)
    assert "$5" in text
    assert "$6" not in text


def test_no_row_is_returned_if_there_is_none(kept: BaseDatabaseWrapper) -> None:
    assert change().row(id=uuid.uuid4(), **CHANGES) is None
    assert change().execute(id=uuid.uuid4(), **CHANGES) == 0


def test_rows_are_looked_for_and_inserted_alike(kept: BaseDatabaseWrapper) -> None:
    is_there = compiled.Exists(Run, lambda: Run.objects.filter(pk=Given.of(Run, "id")))
    insert = compiled.Insert(RunOutput, "run_id", *ROW)
    run = made()
    for _ in range(2):
        insert.execute(run_id=run.pk, **ROW)
    assert (is_there.execute(id=run.pk), is_there.execute(id=uuid.uuid4())) == (True, False)
    assert RunOutput.objects.get(run=run).text == "a\nb%"
    assert len(asked(kept, PREPARED)) == 2


def test_a_plan_from_an_empty_table_looks_for_an_id_by_its_index(kept: BaseDatabaseWrapper) -> None:
    """It is kept when there are millions of rows."""
    change().row(id=uuid.uuid4(), **CHANGES)
    asked(kept, "SELECT set_config('plan_cache_mode', 'force_generic_plan', false)")
    (name,) = asked(kept, "SELECT name FROM pg_prepared_statements")
    nothing = ", ".join("NULL" for _ in (*CHANGES, "id"))
    plan = "\n".join(asked(kept, f"EXPLAIN EXECUTE {name}({nothing})"))
    assert "jobledger_run_pkey" in plan


def test_an_unprepared_statement_follows_if_what_was_prepared_is_gone(kept: BaseDatabaseWrapper) -> None:
    statement, runs = change(), [made() for _ in range(3)]
    statement.row(id=runs[0].pk, **CHANGES)
    # Past the driver, which would prepare it again.
    kept.connection.pgconn.exec_(b"DEALLOCATE ALL")
    for run in runs[1:]:
        assert statement.row(id=run.pk, **CHANGES) is not None
    assert asked(kept, PREPARED) == []


def test_an_unprepared_statement_follows_if_a_migration_has_changed_what_it_returns(
    kept: BaseDatabaseWrapper,
) -> None:
    statement, before, after = change(), made(), made()
    statement.row(id=before.pk, **CHANGES)
    alter = "ALTER TABLE jobledger_run ALTER COLUMN worker TYPE varchar({})"
    (length,) = asked(
        connections[DEFAULT_DB_ALIAS],
        "SELECT character_maximum_length FROM information_schema.columns"
        " WHERE table_name = 'jobledger_run' AND column_name = 'worker'",
    )
    with psycopg.connect(kept.connection.info.dsn, password=kept.connection.info.password) as migrating:
        migrating.execute(alter.format(length + 1))
    try:
        assert statement.row(id=after.pk, **CHANGES) is not None
    finally:
        with kept.cursor() as cursor:
            cursor.execute(alter.format(length))


def test_nothing_is_prepared_first_in_a_transaction_that_may_undo_what_is_set(
    kept: BaseDatabaseWrapper,
) -> None:
    with transaction.atomic():
        assert change().row(id=made().pk, **CHANGES) is not None
        assert asked(kept, "SHOW enable_seqscan") == ["on"]
    assert asked(kept, PREPARED) == []
    change().row(id=made().pk, **CHANGES)
    assert asked(kept, "SHOW enable_seqscan") == ["off"]


def test_a_new_connection_has_nothing_prepared_and_is_asked_again(kept: BaseDatabaseWrapper) -> None:
    statement = change()
    for _ in range(2):
        assert statement.row(id=made().pk, **CHANGES) is not None
        assert len(asked(kept, PREPARED)) == 1
        kept.close()


def test_nothing_is_prepared_or_set_behind_a_pooler(
    kept: BaseDatabaseWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tells another number of a process than the server."""
    monkeypatch.setattr(psycopg.ConnectionInfo, "backend_pid", 1)
    assert change().row(id=made().pk, **CHANGES) is not None
    assert asked(kept, PREPARED) == []
    assert asked(kept, "SHOW enable_seqscan") == ["on"]


def test_nothing_is_prepared_if_the_project_says_that_there_is_a_pooler(kept: BaseDatabaseWrapper) -> None:
    pooled = ledger_connection.another(kept)
    pooled.settings_dict["DISABLE_SERVER_SIDE_CURSORS"] = True
    prepared.allow(pooled)
    assert (prepared.is_ready(pooled), pooled.connection) == (False, None)


def test_a_driver_that_prepares_nothing_is_used_as_before(
    kept: BaseDatabaseWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(kept), "Database", SimpleNamespace(**{**vars(psycopg), "__name__": "psycopg2"}))
    assert not prepared.is_ready(kept)


def test_a_connection_that_is_kept_for_good_prepares_statements_and_no_other(
    kept: BaseDatabaseWrapper,
) -> None:
    with ledger_connection.ledger_connection():
        assert not prepared.is_ready(connections[DEFAULT_DB_ALIAS])
    with ledger_connection.kept_open(), ledger_connection.ledger_connection():
        assert not prepared.is_ready(connections[DEFAULT_DB_ALIAS])
    # Nothing is left of this in the test's thread.
    with ThreadPoolExecutor() as pool:
        assert pool.submit(_is_kept_one_ready).result()


def _is_kept_one_ready() -> bool:
    ledger_connection.keep_open()
    with ledger_connection.ledger_connection():
        is_ready = prepared.is_ready(connections[DEFAULT_DB_ALIAS])
    ledger_connection.close()
    connections.close_all()
    return is_ready
