"""Whatever is in the queue, the worker continues with the next message, and nothing is dropped silently.

Its Redis user has the rights of Compose's, which suffice for everything that Celery and kombu do.
"""

import json
import re
from collections.abc import Iterator
from uuid import uuid4

import pytest
import redis

from jobledger.runs.dispatch import run_id_of
from proj.state import REDIS_KEY_PREFIX
from tests.integration.database import rows, uuid_of
from tests.integration.ledger import call, wait_for_end
from tests.integration.service import QUEUE, UNACKNOWLEDGED, Service, service
from tests.malformed import Sent, malformed
from tests.waiting import DEADLINE_SECONDS, wait_until

NEXT_EVENT = """
from celery import current_app

def note(event):
    receiver.should_stop = True
    print(event["hostname"])

with current_app.connection_for_read() as connection:
    receiver = current_app.events.Receiver(connection, handlers={"*": note})
    receiver.capture(timeout=20)
"""


@pytest.fixture(scope="module")
def alone() -> Iterator[Service]:
    """A separate service, because its runs fail, which the audit of a shared one would report."""
    with service(WORKER_CONCURRENCY="2", REMOTE_CONTROL="true") as started:
        started.start_worker()
        yield started


def test_no_malformed_message_crashes_a_worker_and_each_one_is_recorded(alone: Service) -> None:
    sent = list(malformed())
    with redis.Redis(unix_socket_path=str(alone.socket)) as client:
        for each in sent:
            client.lpush(QUEUE, each.item)
        good = call(alone, "probe")
        assert wait_for_end(alone, good).status == "succeeded"
        assert alone.is_running("worker")
        wait_until(lambda: not unrecorded(alone, sent), what="every message is recorded")
        wait_until(lambda: client.hlen(UNACKNOWLEDGED) == 0, what="the worker holds no message")
    log = alone.log("worker")
    lines = [line for line in log.splitlines() if "is a dead letter: " in line]
    assert len(lines) == len(dead_letters(alone))
    assert "Traceback" not in log
    assert [line for line in lines if re.search("marker|xxx", line)] == []


def test_a_message_of_another_project_is_left_to_a_reader_that_knows_its_task(alone: Service) -> None:
    with redis.Redis(unix_socket_path=str(alone.socket)) as client:
        returned = alone.log("worker").count("Returning a message to queue 'celery'")
        sent = call(alone, "invoice", app_label="billing")
        wait_until(
            lambda: alone.log("worker").count("Returning a message to queue 'celery'") > returned,
            what="the worker has received it",
        )
        # Whoever has waited longest gets it: here, not the worker, which asks again every second.
        _, item = client.brpop(QUEUE, timeout=DEADLINE_SECONDS)
        assert json.loads(item)["headers"]["id"] == str(sent)
        wait_until(lambda: client.hlen(UNACKNOWLEDGED) == 0, what="the worker holds no message")
    assert [content for content in dead_letters(alone) if "billing.invoice" in content] == []


RECORDS = [
    b"\xff",
    b"[]",
    b'[1, "", ""]',
    b'[{"headers": 5}, "", ""]',
    json.dumps([json.loads(next(malformed()).item), ["x"], {}]).encode(),
]


def test_a_malformed_record_of_a_delivery_becomes_a_dead_letter_and_its_contents_are_not_logged(
    alone: Service,
) -> None:
    before = len(dead_letters(alone))
    with redis.Redis(unix_socket_path=str(alone.socket)) as client:
        for number, record in enumerate(RECORDS):
            client.hset(UNACKNOWLEDGED, f"t{number}", record)
            client.zadd(f"{UNACKNOWLEDGED}_index", {f"t{number}": 1})
        wait_until(lambda: not client.hlen(UNACKNOWLEDGED), what="the worker looks for overdue messages")
    wait_until(lambda: len(dead_letters(alone)) == before + len(RECORDS), what="each is recorded")
    assert "Could not restore message" not in alone.log("worker")


def test_remote_control_and_events_reach_the_worker(alone: Service) -> None:
    assert "worker@here: OK" in alone.celery("inspect", "ping").stdout
    assert alone.shell(NEXT_EVENT).strip() == "worker@here"


def test_every_key_of_the_service_starts_with_its_prefix(alone: Service) -> None:
    assert wait_for_end(alone, call(alone, "probe")).status == "succeeded"
    with redis.Redis(unix_socket_path=str(alone.socket), decode_responses=True) as client:
        keys = set(client.scan_iter())
    assert f"{REDIS_KEY_PREFIX}_kombu.binding.celery" in keys
    assert [key for key in keys if not key.startswith(REDIS_KEY_PREFIX)] == []


def unrecorded(alone: Service, sent: list[Sent]) -> list[str]:
    """The messages for which there is neither a dead letter nor a run."""
    kept = json.dumps(dead_letters(alone))
    runs = {uuid_of(pk) for (pk,) in rows(alone, "SELECT id FROM jobledger_run")}
    return [each.label for each in sent if each.marker not in kept and run_of(each) not in runs]


def run_of(sent: Sent) -> object:
    return run_id_of(sent.task_id) if isinstance(sent.task_id, str) else uuid4()


def dead_letters(alone: Service) -> list[str]:
    return [content for (content,) in rows(alone, "SELECT content FROM jobledger_deadletter")]
