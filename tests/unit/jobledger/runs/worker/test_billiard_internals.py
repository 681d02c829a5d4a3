"""The private parts of billiard do what the package relies on."""

import os

from billiard.pool import EX_RECYCLE, Pool

from jobledger.runs.worker import billiard_internals
from tests.waiting import wait_until


def test_a_child_that_is_replaced_exits_like_one_after_its_last_task() -> None:
    """Any other exit code is logged as an error."""
    with Pool(1) as pool:
        (child,) = pool._pool  # type: ignore[attr-defined]  # not in the stubs
        pool.apply(billiard_internals.exit_after_this_task)
        assert wait_until(lambda: child.exitcode, what="the child exits") == EX_RECYCLE
        assert pool.apply(os.getpid) != child.pid
