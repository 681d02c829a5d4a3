"""The project's image as a worker, with Redis and PostgreSQL as in production."""

import uuid
from typing import Any

import pytest
from pytest_celery import (
    CELERY_REDIS_BACKEND,
    CELERY_REDIS_BROKER,
    CeleryTestSetup,
    CeleryWorkerContainer,
    RedisContainer,
)
from pytest_docker_tools import container, fxtr
from pytest_docker_tools.wrappers import Container

from tests.waiting import DEADLINE_SECONDS, wait_until

PASSWORD = "only-for-tests"


class Redis(RedisContainer):  # type: ignore[misc]  # pytest-celery has no types
    @property
    def host_url(self) -> str:
        # If the tests run in a container, the server is not at localhost.
        host, port = self.get_addr("6379/tcp")
        return f"{self.prefix()}{host}:{port}/{self.vhost}"


class Postgres(Container):  # type: ignore[misc]  # pytest-docker-tools has no types
    def ready(self) -> bool:
        # Uses TCP: during initialization, PostgreSQL listens only on its socket.
        probe = ["pg_isready", "--host=127.0.0.1", "--username=jobs", "--dbname=jobs"]
        return bool(super().ready() and self.exec_run(probe).exit_code == 0)

    @property
    def url(self) -> str:
        host = self.attrs["Config"]["Hostname"]
        return f"postgres://jobs:{PASSWORD}@{host}:5432/jobs"


class Worker(CeleryWorkerContainer):  # type: ignore[misc]  # pytest-celery has no types
    @classmethod
    def command(cls, *args: str, **kwargs: Any) -> list[str]:
        return ["celery", "-A", "proj", "worker", "--loglevel=INFO", "--without-gossip", "--without-mingle"]


def redis_server() -> Any:
    return container(
        image="redis:8",
        ports=Redis.ports(),
        command=Redis.command(),
        tmpfs={"/data": ""},
        network="{default_pytest_celery_network.name}",
        wrapper_class=Redis,
        timeout=int(DEADLINE_SECONDS),
    )


default_redis_broker = redis_server()
default_redis_backend = redis_server()


@pytest.fixture(params=[CELERY_REDIS_BROKER])
def celery_broker(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture(params=[CELERY_REDIS_BACKEND])
def celery_backend(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


postgres = container(
    image="postgres:17",
    environment={"POSTGRES_USER": "jobs", "POSTGRES_DB": "jobs", "POSTGRES_PASSWORD": PASSWORD},
    network="{default_pytest_celery_network.name}",
    tmpfs={"/var/lib/postgresql/data": ""},
    wrapper_class=Postgres,
    timeout=int(DEADLINE_SECONDS),
)


@pytest.fixture
def default_worker_env(
    celery_worker_cluster_config: dict[str, dict[str, list[str]]], postgres: Postgres
) -> dict[str, str]:
    (broker,) = celery_worker_cluster_config["celery_broker_cluster_config"]["urls"]
    (backend,) = celery_worker_cluster_config["celery_backend_cluster_config"]["urls"]
    return {
        "SECRET_KEY": "only-for-tests",
        "DATABASE_URL": postgres.url,
        "REDIS_URL": broker,
        "RESULT_BACKEND_URL": backend,
        # As in the app that sends the messages.
        "REDIS_KEY_PREFIX": "",
    }


@pytest.fixture
def prepared_image(
    docker_client: Any,
    project_image: str,
    default_pytest_celery_network: Any,
    default_worker_env: dict[str, str],
) -> str:
    """The project's image, after migrating the database."""
    docker_client.containers.run(
        project_image,
        ["python", "manage.py", "jobledger", "setup"],
        environment=default_worker_env,
        network=default_pytest_celery_network.name,
        remove=True,
    )
    return project_image


default_worker_container = container(
    image="{prepared_image}",
    environment=fxtr("default_worker_env"),
    network="{default_pytest_celery_network.name}",
    wrapper_class=Worker,
    timeout=int(DEADLINE_SECONDS),
    command=Worker.command(),
)


def in_django(setup: CeleryTestSetup, code: str) -> str:
    """The output of Python code in the worker's Django shell."""
    command = ["python", "manage.py", "shell", "--verbosity", "0", "-c", code]
    ended = setup.worker.container.exec_run(command)
    assert ended.exit_code == 0, ended.output
    return str(ended.output.decode().strip())


def ledger(setup: CeleryTestSetup) -> list[str]:
    """The job, status and number of output lines of each run."""
    return in_django(
        setup,
        "from jobledger.models import Run, RunOutput\n"
        "for run in Run.objects.all():\n"
        "    print(run.pk, run.job, run.status, run.trigger, run.output.count())",
    ).splitlines()


def test_a_job_sent_by_its_name_is_executed_and_on_record(celery_setup: CeleryTestSetup) -> None:
    sent = celery_setup.app.send_task("tasks_app.cleanup_tokens", kwargs={"days": 7, "dry_run": True})

    assert sent.get(timeout=int(DEADLINE_SECONDS)) == {
        "run": sent.id,
        "status": "succeeded",
        "last_line": "[dry-run] 0 candidates for deletion",
    }
    assert ledger(celery_setup) == [f"{sent.id} cleanup_tokens succeeded celery 1"]


def test_a_job_whose_message_comes_twice_is_executed_once(celery_setup: CeleryTestSetup) -> None:
    task_id = str(uuid.uuid4())

    for _ in range(2):
        celery_setup.app.send_task("tasks_app.hello", task_id=task_id)
    wait_until(lambda: f"A message of run {task_id} of hello starts nothing" in celery_setup.worker.logs())
    wait_until(lambda: f"Run {task_id} of hello ended as succeeded" in celery_setup.worker.logs())

    assert ledger(celery_setup) == [f"{task_id} hello succeeded celery 1"]


USE_TOO_MUCH_MEMORY = """
import subprocess, sys
from jobledger.runs.processes import oom
before, counter = oom.kills(), oom.KillCounter()
died = subprocess.run([sys.executable, "-c", "b'x' * 300_000_000"]).returncode
print(died, counter.explains_death(kills_before=before))
"""


def test_a_kill_for_want_of_memory_is_recognized_in_a_container(
    docker_client: Any, project_image: str
) -> None:
    printed = docker_client.containers.run(
        project_image,
        ["python", "-c", USE_TOO_MUCH_MEMORY],
        mem_limit="150m",
        memswap_limit="150m",
        cap_drop=["ALL"],
        read_only=True,
        remove=True,
    )
    assert printed.split() == [b"-9", b"True"]
