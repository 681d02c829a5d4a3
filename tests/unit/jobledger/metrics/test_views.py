"""/metrics is closed until it is opened, and what it returns is what Prometheus expects."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client import parser as text
from prometheus_client.openmetrics import parser as openmetrics
from pytest_django import Settings

from jobledger.metrics import totals
from jobledger.metrics.families import METRICS
from jobledger.models import ProcessKind, Run, RunTotal, ServiceProcess, Status, Trigger
from tests.unit.builders import override
from tests.unit.jobledger.metrics.builders import MINUTE, ended, live

pytestmark = pytest.mark.django_db

TOKEN = "a-token-for-tests-only"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
Parse = Callable[[str], Iterable[Any]]
parse_openmetrics: Parse = openmetrics.text_string_to_metric_families
parse_text: Parse = text.text_string_to_metric_families


@pytest.fixture
def opened(settings: Settings) -> None:
    override(settings, METRICS_TOKEN=TOKEN)


def get(client: Client, token: str = TOKEN, **headers: str) -> Any:
    return client.get("/metrics", headers={"authorization": f"Bearer {token}", **headers})


def samples(response: Any, parse: Parse = parse_openmetrics) -> dict[str, float]:
    """By name and labels, as Prometheus writes them."""
    return {
        sample.name
        + "".join(f" {name}={value}" for name, value in sorted(sample.labels.items())): sample.value
        for family in parse(response.content.decode())
        for sample in family.samples
    }


def test_it_is_off_by_default_and_says_how_to_turn_it_on(client: Client) -> None:
    response = get(client)
    assert response.status_code == 404
    assert response.content.decode() == "Metrics are off. Set METRICS_TOKEN or METRICS_NETWORKS.\n"


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize(
    "header", ["", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer ", "Bearer ü"]
)
def test_without_the_token_it_is_forbidden_and_nothing_is_read(
    client: Client, header: str, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(0):
        response = client.get("/metrics", headers={"authorization": header} if header else {})
    assert response.status_code == 403
    assert "A valid token is required" in response.content.decode()
    assert TOKEN not in response.content.decode()


@pytest.mark.usefixtures("opened")
def test_with_the_token_it_answers(client: Client) -> None:
    response = get(client)
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    assert "no-store" in response.headers["Cache-Control"]


@pytest.mark.parametrize(
    ("address", "is_allowed"),
    [("10.1.2.3", True), ("::ffff:10.1.2.3", True), ("fd00::7", True), ("11.1.2.3", False), ("", False)],
)
def test_only_clients_in_the_networks_may_read_them(
    client: Client, settings: Settings, address: str, is_allowed: bool
) -> None:
    override(settings, METRICS_NETWORKS=["10.0.0.0/8", "fd00::/8"])
    response = client.get("/metrics", REMOTE_ADDR=address)
    assert response.status_code == (200 if is_allowed else 403)


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded"])
def test_a_proxy_in_the_networks_opens_them_to_nobody(
    client: Client, settings: Settings, header: str
) -> None:
    override(settings, METRICS_NETWORKS=["10.0.0.0/8"])
    response = client.get("/metrics", headers={header: "10.9.9.9"}, REMOTE_ADDR="10.0.0.1")
    assert response.status_code == 403
    assert "does not apply to requests that come through a proxy" in response.content.decode()


def test_if_both_are_set_both_are_required(client: Client, settings: Settings) -> None:
    override(settings, METRICS_TOKEN=TOKEN, METRICS_NETWORKS=["10.0.0.0/8"])
    bearer = {"authorization": f"Bearer {TOKEN}"}
    assert client.get("/metrics", REMOTE_ADDR="10.0.0.1").status_code == 403
    assert client.get("/metrics", headers=bearer, REMOTE_ADDR="127.0.0.1").status_code == 403
    assert client.get("/metrics", headers=bearer, REMOTE_ADDR="10.0.0.1").status_code == 200


@pytest.mark.usefixtures("opened")
def test_it_cannot_be_written_to(client: Client) -> None:
    assert client.post("/metrics", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 405


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize(("accept", "parse"), [(OPENMETRICS, parse_openmetrics), ("", parse_text)])
def test_the_text_passes_prometheus_own_parser(client: Client, accept: str, parse: Parse) -> None:
    now = timezone.now()
    ended(10, took=20, delay=2, now=now)
    ended(1, took=20, now=now)
    ended(20, now=now, trigger=Trigger.CLI, status=Status.FAILED)
    live(5, now=now)
    live(5, now=now, status=Status.QUEUED, started_at=None)
    ServiceProcess.objects.create(kind=ProcessKind.WORKER, name="w", seen_at=now, capacity=4, busy=1)
    response = get(client, accept=accept)
    found = samples(response, parse)
    assert response.headers["Content-Type"].startswith(accept.partition(";")[0] or "text/plain")
    assert found["jobledger_runs_total job_name=probe status=succeeded trigger=schedule"] == 2
    assert found["jobledger_runs_total job_name=probe status=failed trigger=cli"] == 1
    assert found["jobledger_run_duration_seconds_bucket job_name=probe le=10.0"] == 1
    assert found["jobledger_run_duration_seconds_bucket job_name=probe le=30.0"] == 3
    assert found["jobledger_run_duration_seconds_count job_name=probe"] == 3
    assert found["jobledger_run_duration_seconds_sum job_name=probe"] == 45
    assert found["jobledger_run_start_delay_seconds_count job_name=probe"] == 2
    last = (now - MINUTE).timestamp() + 20
    assert found["jobledger_last_success_timestamp_seconds job_name=probe"] == pytest.approx(last)
    assert found["jobledger_running_runs job_name=probe"] == 1
    assert found["jobledger_worker_processes"] == 4


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize("accept", ["application/openmetrics-text; version=x", ",;=", "text/html, */*;q=0.1"])
def test_a_client_that_asks_for_something_odd_gets_an_answer(client: Client, accept: str) -> None:
    response = get(client, accept=accept)
    assert response.status_code == 200
    assert b"jobledger_workers 0.0\n" in response.content


@pytest.mark.usefixtures("opened")
def test_every_family_is_declared_and_follows_the_conventions(client: Client) -> None:
    ended(10, now=timezone.now())
    found = {each.name: each for each in parse_openmetrics(get(client, accept=OPENMETRICS).content.decode())}
    declared = {each.name: each for each in METRICS}
    assert set(found) <= set(declared)
    for name, family in found.items():
        assert (family.type, family.documentation) == (declared[name].kind, declared[name].help)
    for metric in METRICS:
        # https://prometheus.io/docs/practices/naming/
        assert metric.name.startswith("jobledger_")
        assert not metric.name.endswith(("_total", "_count", "_sum", "_bucket"))
        is_time = any(word in metric.name for word in ("duration", "delay", "age", "timestamp", "overdue_s"))
        assert metric.name.endswith("_seconds") == is_time or metric.name == "jobledger_overdue_schedules"
        assert metric.help.endswith(".")


@pytest.mark.usefixtures("opened")
def test_the_first_failure_of_a_job_increases_a_counter_that_was_there_before(client: Client) -> None:
    name = "jobledger_runs_total job_name=probe status=failed trigger=schedule"
    assert samples(get(client, accept=OPENMETRICS))[name] == 0
    ended(1, now=timezone.now(), status=Status.FAILED)
    assert samples(get(client, accept=OPENMETRICS))[name] == 1


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize(
    "started",
    [
        {"job": "probe", "trigger": Trigger.CELERY},
        {"job": "probe", "trigger": Trigger.CLI},
        {"job": "a line of a crontab", "trigger": Trigger.CRON},
        {"job": "an.ordinary.task", "trigger": Trigger.SCHEDULE},
    ],
    ids=str,
)
def test_so_does_the_first_failure_of_what_no_schedule_starts(client: Client, started: Any) -> None:
    """Its series is new, so it is 0 until the run is settled."""
    found = [read_failures(client, **started)]
    for minutes in (1, 1.5):
        ended(minutes, now=timezone.now(), status=Status.FAILED, **started)
        found.append(read_failures(client, **started))
    Run.objects.update(queued_at=timezone.now() - 3 * MINUTE)  # settled
    found.append(read_failures(client, **started))
    ended(1, now=timezone.now(), status=Status.FAILED, **started)
    assert [*found, read_failures(client, **started)] == [None, 0, 0, 2, 3]


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize("status", [Status.QUEUED, Status.RUNNING])
def test_so_does_that_of_a_run_that_takes_long(client: Client, status: Status) -> None:
    started: Any = {"job": "a line of a crontab", "trigger": Trigger.CRON}
    ended(1, now=timezone.now(), status=Status.FAILED, **started)
    run = live(10, now=timezone.now(), status=status, **started)
    assert read_failures(client, **started) == 0
    Run.objects.filter(pk=run.pk).update(status=Status.FAILED, finished_at=timezone.now())
    assert read_failures(client, **started) == 2


def read_failures(client: Client, job: str, trigger: Trigger) -> float | None:
    name = f"jobledger_runs_total job_name={job} status=failed trigger={trigger}"
    return samples(get(client, accept=OPENMETRICS)).get(name)


@pytest.mark.usefixtures("opened")
def test_values_of_labels_are_escaped(client: Client) -> None:
    ended(job='a "name"\\\nwith everything', now=timezone.now())
    found = samples(get(client, accept=OPENMETRICS))
    assert any('a "name"\\\nwith everything' in name for name in found)


@pytest.mark.usefixtures("opened")
def test_another_web_server_answers_the_same(client: Client) -> None:
    ended(10, now=timezone.now())
    runs = [
        {
            name: value
            for name, value in samples(get(Client(), accept=OPENMETRICS)).items()
            if "_age_" not in name
        }
        for _ in range(3)
    ]
    assert runs[0] == runs[1] == runs[2]
    assert RunTotal.objects.count() == 1


@pytest.mark.usefixtures("opened")
def test_the_number_of_queries_does_not_depend_on_what_is_in_the_ledger(client: Client) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            get(client)
        return len(captured)

    now = timezone.now()
    ended(1, now=now)
    live(now=now)
    get(client)
    few = queries()
    for job in ("probe", "allowing", "queueing"):
        for number in range(10):
            ended(1 + number / 100, now=now, job=job)
            live(20 + number, now=now, job=job)
            live(20 + number, now=now, job=job, status=Status.QUEUED)
    get(client)
    assert queries() == few <= 25


@pytest.mark.usefixtures("opened")
def test_while_the_history_is_counted_it_says_so(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from jobledger.metrics import exposition

    monkeypatch.setattr(totals, "PAGE", 1)
    monkeypatch.setattr(exposition, "COUNT_SECONDS", 0)
    for minutes in (10, 11, 12):
        ended(minutes, now=timezone.now())
    response = get(client)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    assert "There are many new runs to count" in response.content.decode()


@pytest.mark.usefixtures("opened")
def test_an_outage_of_the_database_is_503_without_details(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("password authentication failed for user jobs")

    monkeypatch.setattr(totals, "read", refuse)
    response = get(client)
    assert (response.status_code, response.content) == (503, b"database: OperationalError\n")
