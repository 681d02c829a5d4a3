"""A worker with threads gets this service's pool; with a pool that cannot execute jobs, it does not start."""

from types import SimpleNamespace
from typing import Any

import pytest
from celery.apps.worker import Worker
from celery.concurrency.base import BasePool
from celery.concurrency.prefork import TaskPool
from celery.signals import worker_shutdown

from jobledger.runs.processes import shared_process
from jobledger.runs.worker import pool_internals, thread_pool
from jobledger.runs.worker.pools import choose_pool


@pytest.fixture(autouse=True)
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes that the process is said to be shared, which it is not."""
    found: list[str] = []
    monkeypatch.setattr(shared_process, "begin", lambda: found.append("begun"))
    monkeypatch.setattr(thread_pool.TaskPool, "hostname", "")
    return found


def worker(pool: Any, cls: Any = Worker) -> Any:
    """A worker that has not been set up any further."""
    made = cls.__new__(cls)
    made.pool_cls, made.hostname = pool, "celery@here"
    made.terminate = lambda **options: None
    return made


def pool_of(module: str) -> type[BasePool]:
    """What Celery has in this module, which may need a package that is not installed."""
    return type("TaskPool", (BasePool,), {"__module__": f"celery.concurrency.{module}"})


@pytest.mark.parametrize(
    ("pool", "reason"),
    [
        ("solo", "could neither end a job nor record its death"),
        (pool_of("gevent"), "would stop the heartbeats of all others"),
        (pool_of("eventlet"), "would stop the heartbeats of all others"),
        (pool_of("mine"), "is not known to be able to end a job"),
    ],
)
def test_other_pools_are_refused_with_the_reason_and_what_to_use(
    begun: list[str], pool: Any, reason: str
) -> None:
    with pytest.raises(SystemExit) as refused:
        choose_pool(worker(pool))
    assert reason in str(refused.value.code)
    assert "Use --pool prefork" in str(refused.value.code)
    assert begun == []


@pytest.mark.parametrize("pool", ["prefork", "processes", "celery.concurrency.prefork:TaskPool"])
def test_a_worker_with_processes_gets_celerys_pool_which_may_send_messages_ahead(
    begun: list[str], pool: str
) -> None:
    choose_pool(made := worker(pool))
    assert (made.pool_cls, begun) == (pool_internals.TaskPool, [])


def test_a_projects_own_pool_of_processes_is_left_as_it_is(begun: list[str]) -> None:
    own = type("TaskPool", (TaskPool,), {})
    choose_pool(made := worker(own))
    assert (made.pool_cls, begun) == (own, [])


def test_a_worker_with_threads_gets_a_pool_that_can_execute_jobs(begun: list[str]) -> None:
    choose_pool(made := worker("threads"))
    assert (made.pool_cls, made.pool_cls.hostname) == (thread_pool.TaskPool, "celery@here")
    assert begun == ["begun"]


def test_a_worker_that_a_test_embeds_may_use_any_pool() -> None:
    choose_pool(worker("solo", SimpleNamespace))


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_worker_says_that_it_has_shut_down_also_after_a_cold_shutdown(
    pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[object] = []

    def note(sender: object) -> None:
        done.append(sender)

    monkeypatch.setattr(worker_shutdown, "send", note)
    made = worker(pool)
    made.terminate = lambda **options: done.append("terminated")
    choose_pool(made)
    made.terminate()
    assert done == ["terminated", made]
