"""Django's private parts that we rely on: these tests fail if a Django release changes them."""

from io import StringIO

import pytest
from django.core.management.base import BaseCommand

from jobledger.models import Run
from jobledger.runs.django_internals import is_prefetched, wrapped_stream


def test_the_stream_behind_a_commands_wrapper_is_found() -> None:
    stream = StringIO()
    assert wrapped_stream(BaseCommand(stdout=stream).stdout) is stream


def test_any_other_stream_is_returned_unchanged() -> None:
    stream = StringIO()
    assert wrapped_stream(stream) is stream


@pytest.mark.django_db
def test_prefetched_objects_are_recognized() -> None:
    Run.objects.create(job="probe")
    (read,) = Run.objects.prefetch_related("attempts")
    assert is_prefetched(read, "attempts")
    assert not is_prefetched(read, "children")
