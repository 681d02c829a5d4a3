"""What is relied on of Django's private parts: these tests fail when a Django release changes it."""

from io import StringIO

from django.core.management.base import BaseCommand

from jobledger.runs.execution.django_internals import wrapped_stream


def test_the_stream_of_a_command_is_found_behind_its_wrapper() -> None:
    stream = StringIO()
    assert wrapped_stream(BaseCommand(stdout=stream).stdout) is stream


def test_any_other_stream_is_left_as_it_is() -> None:
    stream = StringIO()
    assert wrapped_stream(stream) is stream
