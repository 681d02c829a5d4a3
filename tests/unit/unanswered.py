"""Has the answer to a commit get lost, as if the database's server had died."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

ENDED = "server closed the connection unexpectedly"


@contextmanager
def losing_the_answer(*, is_committed: bool) -> Iterator[None]:
    """Of the first transaction in the block, it is lost whether it was committed."""
    lost = list[bool]()
    commit = BaseDatabaseWrapper._commit  # type: ignore[attr-defined]

    def commit_unheard(connection: BaseDatabaseWrapper) -> None:
        if lost:
            commit(connection)
            return
        lost.append(True)
        commit(connection) if is_committed else connection._rollback()  # type: ignore[attr-defined]
        raise OperationalError(ENDED)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseDatabaseWrapper, "_commit", commit_unheard)
        yield
    assert lost
