"""What Celery's public API does not offer."""

import pytest
from celery import Celery, _state

from jobledger.celery_internals import for_each_app


def test_it_is_called_once_for_each_app_whenever_that_is_finalized(monkeypatch: pytest.MonkeyPatch) -> None:
    # So that apps of other tests do not call it.
    monkeypatch.setattr(_state, "_on_app_finalizers", set())
    early, late = (Celery(name, set_as_current=False) for name in ("early", "late"))
    early.finalize()
    called = list[Celery]()
    for_each_app(called.append)
    assert (called.count(early), called.count(late)) == (1, 0)
    late.finalize()
    late.finalize()
    assert (called.count(early), called.count(late)) == (1, 1)
