"""Whatever is in the queue, the worker continues with the next message, and nothing is dropped silently."""

import json
import re
from collections.abc import Iterator
from uuid import uuid4

import pytest
import redis

from jobledger.runs.dispatch import run_id_of
from tests.integration.database import rows, uuid_of
from tests.integration.ledger import call, wait_for_end
from tests.integration.service import Service, service
from tests.malformed import Sent, malformed
from tests.waiting import wait_until


@pytest.fixture
def alone() -> Iterator[Service]:
    """A separate service, because its runs fail, which the audit of a shared one would report."""
    with service(WORKER_CONCURRENCY="2") as started:
        started.start_worker()
        yield started


def test_no_malformed_message_crashes_a_worker_and_each_one_is_recorded(alone: Service) -> None:
    sent = list(malformed())
    with redis.Redis(unix_socket_path=str(alone.socket)) as client:
        for each in sent:
            client.lpush("celery", each.item)
        good = call(alone, "probe")
        assert wait_for_end(alone, good).status == "succeeded"
        assert alone.is_running("worker")
        wait_until(lambda: not unrecorded(alone, sent), what="every message is recorded")
        assert client.hlen("unacked") == 0
    log = alone.log("worker")
    lines = [line for line in log.splitlines() if "is a dead letter: " in line]
    assert len(lines) == len(dead_letters(alone))
    assert "Traceback" not in log
    assert [line for line in lines if re.search("marker|xxx", line)] == []


def unrecorded(alone: Service, sent: list[Sent]) -> list[str]:
    """The messages for which there is neither a dead letter nor a run."""
    kept = json.dumps(dead_letters(alone))
    runs = {uuid_of(pk) for (pk,) in rows(alone, "SELECT id FROM jobledger_run")}
    return [each.label for each in sent if each.marker not in kept and run_of(each) not in runs]


def run_of(sent: Sent) -> object:
    return run_id_of(sent.task_id) if isinstance(sent.task_id, str) else uuid4()


def dead_letters(alone: Service) -> list[str]:
    return [content for (content,) in rows(alone, "SELECT content FROM jobledger_deadletter")]
