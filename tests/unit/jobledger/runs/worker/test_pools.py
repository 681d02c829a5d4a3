"""A worker with a pool in which jobs cannot be ended does not start."""

from types import SimpleNamespace
from typing import Any

import pytest
from celery.apps.worker import Worker

from jobledger.runs.worker.pools import refuse_other_pools


def worker(pool: str, cls: Any = Worker) -> Any:
    """A worker that has not been set up any further."""
    made = cls.__new__(cls)
    made.pool_cls = pool
    return made


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_other_pools_are_refused_with_a_sentence_that_says_what_to_use(pool: str) -> None:
    with pytest.raises(SystemExit) as refused:
        refuse_other_pools(worker(pool))
    assert pool.rstrip("s") in str(refused.value.code)
    assert "Use --pool prefork" in str(refused.value.code)


@pytest.mark.parametrize("pool", ["prefork", "processes", "celery.concurrency.prefork:TaskPool"])
def test_the_prefork_pool_is_accepted(pool: str) -> None:
    refuse_other_pools(worker(pool))


def test_a_worker_that_a_test_embeds_may_use_any_pool() -> None:
    refuse_other_pools(worker("solo", SimpleNamespace))
