"""What is stored of tasks is read from whatever result backend the project has."""

import pickle
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.backends.base import Backend
from celery.exceptions import TaskRevokedError

from jobledger.models import Run
from jobledger.runs.elsewhere import backend
from jobledger.runs.elsewhere.backend import BackendDownError, Result, Undecodable
from tests.unit.builders import NOON
from tests.unit.jobledger.runs.elsewhere.builders import Elsewhere


class Rows(Backend):
    """A backend of rows, as in a database: it has no bulk read, and reads exceptions itself."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rows: dict[str, Any] = {}

    def _store_result(self, task_id: str, result: Any, state: str, *args: Any, **kwargs: Any) -> None:
        naive = NOON.replace(tzinfo=None)
        self.rows[task_id] = {"status": state, "result": self.encode(result), "date_done": naive}

    def _get_task_meta_for(self, task_id: str) -> Any:
        row = self.rows.get(task_id) or {"status": "PENDING", "result": "null"}
        return self.meta_from_decoded({**row, "result": self.decode(row["result"])})


@pytest.fixture(params=["one at a time", "at once", "rows"])
def stored(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Elsewhere:
    """Another service, with each kind of backend."""
    made = Elsewhere(tmp_path / "results", "" if request.param == "one at a time" else "cache+memory://")
    if request.param == "rows":
        made.app._backend_cache = Rows(made.app)
    monkeypatch.setattr(backend, "current_app", made.app)
    return made


def a_run() -> Run:
    return Run(job="billing.charge")


def read(*runs: Run) -> list[Any]:
    found = backend.read([run.pk for run in runs])
    return [found.get(run.pk) for run in runs]


def test_nothing_is_known_of_a_task_that_has_stored_nothing(stored: Elsewhere) -> None:
    assert read(a_run(), a_run()) == [None, None]


def test_ends_of_several_tasks_are_read(stored: Elsewhere) -> None:
    good, bad, unknown = a_run(), a_run(), a_run()
    stored.succeeds(good, {"sum": 3})
    stored.fails(bad, LookupError("no such account", 7))
    one, two, three = read(good, bad, unknown)
    assert (one.state, one.error_type, three) == ("SUCCESS", "", None)
    assert (two.state, two.error_type, two.error_module) == ("FAILURE", "LookupError", "builtins")
    assert two.message == "('no such account', 7)"
    assert (one.done_at, two.done_at) == (NOON, NOON)


def test_an_error_of_a_class_that_is_unknown_here_keeps_its_name(stored: Elsewhere) -> None:
    run = a_run()
    stored.fails(run, type("DeclinedError", (Exception,), {"__module__": "billing.errors"})("expired card"))
    (found,) = read(run)
    assert (found.error_type, found.message) == ("DeclinedError", "expired card")


def test_what_has_begun_or_was_revoked_has_a_state_of_its_own(stored: Elsewhere) -> None:
    begun, revoked = a_run(), a_run()
    stored.stores(begun, {"pid": 7, "hostname": "celery@there"}, "STARTED")
    stored.is_revoked(revoked)
    one, two = read(begun, revoked)
    assert (one.state, one.worker) == ("STARTED", "celery@there")
    assert (two.state, two.error_type, two.error_args) == ("REVOKED", TaskRevokedError.__name__, ("revoked",))


@pytest.mark.parametrize(
    "data",
    [b"{", b"\xff\xfe", b"[]", b"17", b"{}", b'{"status": 5}', pickle.dumps({"status": "SUCCESS"})],
    ids=["cut", "no text", "list", "number", "empty", "odd", "pickle"],
)
def test_what_cannot_be_decoded_concerns_its_own_task_only(elsewhere: Elsewhere, data: bytes) -> None:
    broken, good = a_run(), a_run()
    elsewhere.stores_bytes(broken, data)
    elsewhere.succeeds(good)
    one, two = read(broken, good)
    assert isinstance(one, Undecodable)
    assert one.problem
    assert isinstance(two, Result)


def test_no_class_that_a_result_names_is_used(elsewhere: Elsewhere) -> None:
    run = a_run()
    named = {"exc_type": "system", "exc_message": ["touch /tmp/x"], "exc_module": "os"}
    elsewhere.stores_bytes(run, elsewhere.app.backend.encode({"status": "FAILURE", "result": named}))
    (found,) = read(run)
    assert (found.error_type, found.error_module, found.message) == ("system", "os", "touch /tmp/x")


def test_a_worker_and_its_clock_are_read_if_they_are_stored(elsewhere: Elsewhere) -> None:
    run = a_run()
    meta = {"status": "SUCCESS", "result": None, "worker": "w@there", "date_done": "2026-03-01T11:59:00"}
    elsewhere.stores_bytes(run, elsewhere.app.backend.encode(meta))
    assert read(run) == [
        Result(state="SUCCESS", worker="w@there", done_at=datetime(2026, 3, 1, 11, 59, tzinfo=UTC))
    ]


@pytest.mark.parametrize("text", ["yesterday", None, 5])
def test_an_odd_time_is_an_unknown_one(text: Any) -> None:
    assert backend._time(text) is None


def test_huge_errors_are_cut(elsewhere: Elsewhere) -> None:
    run = a_run()
    elsewhere.fails(run, ValueError("x" * 10**6), traceback="y" * 10**6 + "end")
    (found,) = read(run)
    assert (len(found.message), len(found.traceback)) == (backend.MAX_TEXT_LENGTH,) * 2
    assert found.traceback.endswith("end")


@pytest.mark.parametrize("url", ["redis+socket:///nowhere/redis.sock", "nosuchbackend://", "broken:Backend"])
def test_a_backend_that_cannot_be_used_is_down(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    app = Celery("billing", backend=url, set_as_current=False)
    monkeypatch.setattr(backend, "current_app", app)
    with pytest.raises(BackendDownError, match=r"\w+: ."):
        backend.read([a_run().pk])


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        (None, "disabled"),
        ("", "disabled"),
        ("disabled://", "disabled"),
        ("celery.backends.base:DisabledBackend", "disabled"),
        ("rpc://", "rpc"),
        ("celery.backends.rpc:RPCBackend", "rpc"),
        ("redis://localhost", ""),
        ("django-db", ""),
        ("cache+memory://", ""),
    ],
)
def test_some_backends_tell_nobody_else(url: str | None, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "current_app", Celery("billing", backend=url, set_as_current=False))
    assert backend.why_unreadable() == kind
