"""``jobledger dead_letters`` lists the messages that could not be processed."""

import json
from typing import Any

import pytest

from jobledger.models import DeadLetter
from tests.unit.builders import NOON, output_of, utc

pytestmark = pytest.mark.django_db


def dead(**values: Any) -> DeadLetter:
    made = {"received_at": NOON, "reason": "id is missing", "queue": "celery", "content": "hunter2"}
    return DeadLetter.objects.create(**{**made, "size": 7, **values})


def test_each_has_a_line_without_its_contents() -> None:
    dead(task="probes.probe", worker="celery@here")
    dead(received_at=utc(2026, 3, 1, 13), reason="it is not a task message")
    assert output_of("jobledger", "dead_letters") == (
        "2026-03-01 13:00:00 UTC\tcelery\t\t7\t\tit is not a task message\n"
        "2026-03-01 12:00:00 UTC\tcelery\tprobes.probe\t7\tcelery@here\tid is missing\n"
    )


def test_json_has_the_contents_too() -> None:
    letter = dead()
    (found,) = json.loads(output_of("jobledger", "dead_letters", "--json"))
    assert (found["id"], found["content"], found["size"]) == (str(letter.pk), "hunter2", 7)


def test_only_the_newest_are_listed() -> None:
    for hour in range(3):
        dead(received_at=utc(2026, 3, 1, hour), reason=f"reason {hour}")
    assert "reason 2" in output_of("jobledger", "dead_letters", "--limit", "1")
    assert "reason 1" not in output_of("jobledger", "dead_letters", "--limit", "1")
