"""The whole service works over an encrypted connection to a Redis server whose certificate it verifies."""

from collections.abc import Iterator

import pytest

from tests.integration.service import Service, service
from tests.integration.slots import newest_slot, schedule_every_second
from tests.tls import CA, tls_in_front_of
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    with service() as started:
        ca = CA()
        file = started.folder / "ca.pem"
        file.write_text(ca.pem)
        with tls_in_front_of(started.socket, ca=ca) as port:
            started.variables["REDIS_URL"] = f"rediss://localhost:{port}/0"
            started.variables["REDIS_CA_FILE"] = str(file)
            started.start_worker()
            started.start_beat()
            yield started
            started.stop_all()


def test_beat_publishes_and_workers_execute_and_results_come_back(running: Service) -> None:
    schedule_every_second(running, "encrypted")
    wait_until(lambda: newest_slot(running, "encrypted"), what="a scheduled run succeeds")
    called = running.celery("call", "tasks_app.hello")
    assert called.returncode == 0, called.stderr
    run_id = called.stdout.strip()
    wait_until(lambda: run_id in [run["id"] for run in running.runs("--status", "succeeded")])
    assert "Hello!" in running.celery("result", run_id).stdout
    logs = running.log("worker"), running.log("beat"), called.stderr
    assert [log for log in logs if "insecure" in log or "CERT_NONE" in log] == []
