"""Dead letters are kept in Redis until the ledger has them; both keep only the newest."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from celery import current_app
from django.db import OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError

from jobledger.models import DeadLetter
from jobledger.runs.worker.messages import dead_letters
from tests.unit.builders import NOON

pytestmark = pytest.mark.django_db


class Stream:
    """The part of Redis that is used here: a stream."""

    def __init__(self) -> None:
        self.entries: dict[int, dict[bytes, bytes]] = {}
        self.global_keyprefix = "ours:"
        self.keys: set[str] = set()
        self._next = 0

    @contextmanager
    def conn_or_acquire(self) -> Iterator["Stream"]:
        yield self

    def xadd(self, key: str, entry: dict[str, str], *, maxlen: int, approximate: bool) -> None:
        self.keys.add(key)
        self._next += 1
        self.entries[self._next] = {name.encode(): text.encode() for name, text in entry.items()}
        while len(self.entries) > maxlen:
            del self.entries[min(self.entries)]

    def xrange(self, key: str, *, count: int) -> list[Any]:
        self.keys.add(key)
        return sorted(self.entries.items())[:count]

    def xdel(self, key: str, *entries: int) -> None:
        for entry in entries:
            del self.entries[entry]


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Stream:
    """The stream of this process's broker."""
    made = Stream()

    @contextmanager
    def connection() -> Iterator[Any]:
        yield SimpleNamespace(default_channel=made)

    monkeypatch.setattr(current_app, "connection_for_read", connection)
    return made


def letter(reason: str = "it is odd", item: bytes = b"{", queue: str = "celery") -> DeadLetter:
    return dead_letters.unreadable(item, reason, queue=queue)


def test_a_dead_letter_is_kept_in_redis_and_moved_into_the_ledger(stream: Stream) -> None:
    kept = letter()
    dead_letters.keep(stream, kept)
    assert DeadLetter.objects.count() == 0
    dead_letters.move_all()
    found = DeadLetter.objects.get()
    assert (found.pk, found.reason, found.queue, found.size, found.content) == (
        kept.pk,
        "it is odd",
        "celery",
        1,
        "{",
    )
    assert found.received_at == kept.received_at
    assert (stream.entries, stream.keys) == ({}, {"ours:jobledger.dead_letters"})


def test_a_dead_letter_is_logged_in_one_line_without_its_contents(
    stream: Stream, caplog: pytest.LogCaptureFixture
) -> None:
    kept = letter(item=b'{"password": "hunter2"}', queue="odd\nqueue")
    dead_letters.keep(stream, kept)
    assert caplog.messages == [
        f"A message from queue 'odd\\nqueue' is a dead letter: it is odd (23 bytes, {kept.pk})"
    ]


def test_the_line_names_a_task_that_nobody_knows(stream: Stream, caplog: pytest.LogCaptureFixture) -> None:
    message = SimpleNamespace(
        headers={"task": "shop.\nresize"}, body=b"{}", delivery_info={"routing_key": "celery"}
    )
    kept = dead_letters.undeliverable(message, "no worker knows its task")
    dead_letters.keep(stream, kept, names_task=True)
    (line,) = caplog.messages
    assert line.startswith("A message of task 'shop.\\nresize' from queue 'celery' is a dead letter: no")


def test_dead_letters_stay_in_redis_while_the_database_is_unavailable(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dead_letters.keep(stream, letter())
    with monkeypatch.context() as away:

        def refuse(*args: Any, **options: Any) -> None:
            raise OperationalError("connection refused")

        away.setattr(DeadLetter.objects, "bulk_create", refuse)
        assert not dead_letters.try_to_move_all()
    assert len(stream.entries) == 1
    assert "stay in Redis until the database is available: connection refused" in caplog.text
    assert dead_letters.try_to_move_all()
    assert (len(stream.entries), DeadLetter.objects.count()) == (0, 1)


def test_while_redis_is_unavailable_moving_is_retried(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def lost(key: str, *, count: int) -> Any:
        raise RedisConnectionError("gone")

    monkeypatch.setattr(stream, "xrange", lost)
    assert not dead_letters.try_to_move_all()
    assert "Could not read dead letters from Redis yet: gone" in caplog.text


def test_a_dead_letter_that_is_moved_twice_is_recorded_once(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead_letters.keep(stream, letter())
    again = dict(stream.entries)
    dead_letters.move_all()
    stream.entries = again
    dead_letters.move_all()
    assert DeadLetter.objects.count() == 1


def test_redis_and_the_ledger_keep_the_newest_dead_letters(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "MAX_KEPT", 5)
    monkeypatch.setattr(dead_letters, "MOVE_BATCH", 2)
    for number in range(3):
        DeadLetter.objects.create(received_at=NOON, reason=f"old {number}", size=1)
    for number in range(7):
        dead_letters.keep(stream, letter(f"new {number}"))
    assert len(stream.entries) == 5
    dead_letters.move_all()
    assert list(DeadLetter.objects.values_list("reason", flat=True)) == [f"new {n}" for n in (6, 5, 4, 3, 2)]


@pytest.mark.parametrize(
    "entry",
    [
        {},
        *(
            {b"letter": text}
            for text in (b"{", b"[]", b'{"id": 1}', b"null", b"\xff", b"[" * 100_000 + b"]" * 100_000)
        ),
    ],
    ids=lambda entry: str(entry)[:20],
)
def test_malformed_records_become_dead_letters_too(stream: Stream, entry: dict[bytes, bytes]) -> None:
    stream.entries = {1: entry}
    dead_letters.move_all()
    assert DeadLetter.objects.get().reason == "the record of a dead letter cannot be parsed"


def test_texts_are_truncated_and_escaped(stream: Stream) -> None:
    message = SimpleNamespace(
        body=b"\xff" + b"x" * 10_000,
        headers={"task": "t" * 300, "id": "a\0b\ud800", "deep": object()},
        delivery_info={"routing_key": "q" * 300},
    )
    dead_letters.keep(stream, dead_letters.undeliverable(message, "r" * 1000))
    dead_letters.move_all()
    found = DeadLetter.objects.get()
    assert (found.task, found.queue, found.reason) == ("t" * 200, "q" * 200, "r" * 500)
    assert found.task_id == "a\\x00b\\ud800"
    assert (found.size, len(found.content)) == (10_001, dead_letters.MAX_CONTENT_LENGTH)


@pytest.mark.parametrize("headers", [None, [], {"task": ["x"], "id": {}}], ids=str)
def test_headers_may_be_of_any_kind(stream: Stream, headers: Any) -> None:
    message = SimpleNamespace(headers=headers, delivery_info=None, body=None)
    dead_letters.keep(stream, dead_letters.undeliverable(message, "odd"))
    dead_letters.move_all()
    assert DeadLetter.objects.get().task == ""


def test_without_a_broker_dead_letters_are_kept_in_memory_until_they_are_moved(stream: Stream) -> None:
    dead_letters.keep(object(), letter("in memory"))
    dead_letters.move_all()
    assert DeadLetter.objects.get().reason == "in memory"
    dead_letters.move_all()
    assert DeadLetter.objects.count() == 1


def test_named_secrets_are_masked_in_the_content() -> None:
    headers = {"task": "no.such", "X-Api-Key": "hunter2", "kwargsrepr": "{'token': 'hunter2'}"}
    message = SimpleNamespace(body=b'[[], {"token": "hunter2"}, {}]', headers=headers, delivery_info={})
    made = dead_letters.undeliverable(message, "odd")
    assert "no.such" in made.content
    assert "hunter2" not in made.content


def test_the_content_has_the_headers_and_the_body() -> None:
    headers = {"task": "probes.probe", "id": "1"}
    message = SimpleNamespace(body=b"[[], {}, {}]", headers=headers, delivery_info={})
    made = dead_letters.undeliverable(message, "odd")
    assert json.loads(made.content) == {"headers": headers, "body": "[[], {}, {}]"}
