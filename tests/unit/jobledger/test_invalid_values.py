"""Whatever a row contains, beat, workers, pages, answers and commands go on with all others."""

import traceback
from collections.abc import Callable, Iterator

import pytest
from django.db import transaction
from pytest_django import Settings

from jobledger.models import Run
from tests.unit.broker import Broker
from tests.unit.builders import override
from tests.unit.jobledger.invalid_rows import MODELS, Makers, of_beat, of_users, planted

pytestmark = [pytest.mark.django_db, pytest.mark.every_database]


class UndoError(Exception):
    """Ends a transaction."""


def errors_of(call: Callable[[], object], caplog: pytest.LogCaptureFixture) -> Iterator[str]:
    """What was raised, or logged with a traceback. What was written is undone."""
    caplog.clear()
    try:
        with transaction.atomic():
            call()
            raise UndoError
    except UndoError:
        pass
    except Exception as error:  # noqa: BLE001 - it is what is asked for
        yield "".join(traceback.format_exception(error)[-3:])
    for record in caplog.records:
        if record.exc_info:
            yield f"{record.getMessage()}: {record.exc_text}"[-600:]


@pytest.mark.parametrize("maker", MODELS)
def test_invalid_values_of_one_row_stop_nothing_else(
    maker: str, broker: Broker, caplog: pytest.LogCaptureFixture, settings: Settings
) -> None:
    override(settings, METRICS_NETWORKS=["127.0.0.0/8"], FEEDS=True)
    makers = Makers()
    assert planted(MODELS[maker], getattr(makers, maker))
    valid = makers.schedule()
    readers = {**of_beat(makers.now), **of_users()}
    found = {name: errors for name, call in readers.items() if (errors := list(errors_of(call, caplog)))}
    assert found == {}
    readers["due"]()
    assert Run.objects.filter(schedule=valid).exists()
