"""The private parts of billiard do what the package relies on."""

import logging
import os
from collections.abc import Iterator

import pytest
from billiard.pool import EX_RECYCLE, Pool

from jobledger.runs.processes import billiard_internals
from jobledger.runs.processes.billiard_internals import BusyChildren
from tests.waiting import wait_until


def test_a_child_that_is_replaced_exits_like_one_after_its_last_task() -> None:
    """Any other exit code is logged as an error."""
    with Pool(1) as pool:
        (child,) = pool._pool  # type: ignore[attr-defined]  # not in the stubs
        pool.apply(billiard_internals.exit_after_this_task)
        assert wait_until(lambda: child.exitcode, what="the child exits") == EX_RECYCLE
        assert pool.apply(os.getpid) != child.pid


@pytest.fixture
def pool_log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What billiard logs, which does not reach the root logger."""
    logger = logging.getLogger("multiprocessing")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.mark.parametrize("is_busy", [False, True])
def test_the_pool_logs_the_death_of_a_child_unless_it_is_busy(
    is_busy: bool, pool_log: pytest.LogCaptureFixture
) -> None:
    busy = BusyChildren()
    busy.begin()
    try:
        with Pool(1, lost_worker_timeout=0.1) as pool:
            (child,) = pool._pool  # type: ignore[attr-defined]  # not in the stubs
            if is_busy:
                busy.add(child.pid)
            # One that is killed while it waits for a task would keep the others from getting one.
            pool.apply_async(os._exit, (3,))
            wait_until(lambda: child not in pool._pool, what="the pool has noticed")  # type: ignore[attr-defined]  # as above
    finally:
        logging.getLogger("multiprocessing").removeFilter(busy)
    assert (f"pid:{child.pid} exited with 'exitcode 3'" in pool_log.text) is not is_busy


def test_a_child_that_has_returned_its_result_is_not_busy() -> None:
    busy = BusyChildren()
    busy.add(7)
    busy.discard(7)
    line = logging.LogRecord("", logging.ERROR, "", 1, BusyChildren._DEATH, ("Worker-1", 7, "signal 9"), None)
    assert busy.filter(line)
