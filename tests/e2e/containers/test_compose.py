import re
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.e2e.containers.compose import Stack, brought_up
from tests.manual import ROOT, Block, all_blocks
from tests.terminal import terminal, type_in
from tests.waiting import DEADLINE_SECONDS, wait_until

# The first test waits for the image and the whole service.

ONE_SHOTS = ("secrets", "init")
SERVICES = ("db", "redis", "web", "worker", "beat")
OURS = ("web", "worker", "beat")


@pytest.fixture(scope="module")
def stack(project_image: str) -> Iterator[Stack]:
    with brought_up(project_image) as stack:
        yield stack


def get(stack: Stack, path: str) -> tuple[int, str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{stack.port}{path}", timeout=DEADLINE_SECONDS) as response:
        return response.status, response.read().decode()


def published_ports(container: dict[str, Any]) -> list[tuple[str, str]]:
    bindings = container["NetworkSettings"]["Ports"].values()
    return [(each["HostIp"], each["HostPort"]) for binding in bindings for each in binding or ()]


@contextmanager
def locked(stack: Stack, table: str) -> Iterator[None]:
    """Lock the table exclusively."""
    with stack.start("exec", "-T", "db", "psql", "-qAt", "-U", "postgres", "jobs") as psql:
        assert psql.stdin
        assert psql.stdout
        psql.stdin.write(f"BEGIN; LOCK TABLE {table}; SELECT 'locked';\n")
        psql.stdin.flush()
        assert psql.stdout.readline() == "locked\n"
        yield


def test_every_service_is_healthy_and_the_one_shots_ended_well(stack: Stack) -> None:
    assert stack.health(*SERVICES) == ["healthy"] * len(SERVICES)
    ends = [container["State"] for container in stack.containers(*ONE_SHOTS)]
    assert [(end["Status"], end["ExitCode"]) for end in ends] == [("exited", 0)] * len(ONE_SHOTS)


def test_a_schedule_of_every_second_fires_and_its_run_succeeds_with_its_output(stack: Stack) -> None:
    stack.shell(
        "from django_celery_beat.models import IntervalSchedule, PeriodicTask;"
        "second, _ = IntervalSchedule.objects.get_or_create(every=1, period='seconds');"
        "PeriodicTask.objects.create(name='every second', task='tasks_app.hello', interval=second)"
    )

    def fired() -> list[str]:
        runs = stack.runs("--job", "hello", "--status", "succeeded")
        return [run["id"] for run in runs if run["schedule"] == "every second"]

    run_id = wait_until(fired)[0]
    stack.shell(
        "from django_celery_beat.models import PeriodicTask;"
        "PeriodicTask.objects.filter(name='every second').delete()"
    )

    assert re.fullmatch(r"Hello! This run is for .+\.", stack.output(run_id))

    def lines_of_run() -> list[dict[str, Any]]:
        return [line for line in stack.log_of("worker") if line.get("run_id") == run_id]

    wait_until(lambda: len(lines_of_run()) >= 2, what="its end is logged as well")
    logs = {name: stack.log_of(name) for name in OURS}
    assert {name: {line["service"] for line in lines} for name, lines in logs.items()} == {
        name: {name} for name in OURS
    }
    started, ended = lines_of_run()
    assert {(line["job"], line["attempt"], line["schedule"]) for line in (started, ended)} == {
        ("hello", 1, "every second")
    }
    assert (ended["status"], ended["exit_code"]) == ("succeeded", 0)


def test_the_result_of_a_job_called_by_celery_is_available(stack: Stack) -> None:
    run_id = stack.celery("call", "tasks_app.cleanup_tokens", "--kwargs", '{"days": 7, "dry_run": true}')
    stack.wait_for_run(run_id, "succeeded")

    result = stack.celery("result", run_id)

    assert run_id in result
    assert "[dry-run] 0 candidates for deletion" in result


def test_a_command_runs_in_a_separate_container(stack: Stack) -> None:
    printed = stack.compose("run", "--rm", "-T", "web", "python", "manage.py", "cleanup_tokens", "--dry-run")

    assert "[dry-run] 0 candidates for deletion" in printed
    assert stack.runs("--job", "cleanup_tokens", "--limit", "1")[0]["trigger"] == "cli"


def test_the_login_page_and_the_style_it_names_are_served(stack: Stack) -> None:
    status, page = get(stack, "/admin/login/")
    style = re.search(r'href="(/static/admin/css/base[^"]*)"', page)

    assert status == 200
    assert style
    assert get(stack, style[1])[0] == 200


def test_the_generated_password_works_in_the_admin(stack: Stack) -> None:
    password = stack.compose("run", "--rm", "-T", "init", "cat", "/secrets-for-admin/admin_password").strip()
    cookies = CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))
    login = f"http://127.0.0.1:{stack.port}/admin/login/?next=/admin/"
    browser.open(login, timeout=DEADLINE_SECONDS).close()
    token = next(cookie.value for cookie in cookies if cookie.name == "csrftoken")
    form = {"username": "admin", "password": password, "csrfmiddlewaretoken": token}

    with browser.open(login, urlencode(form).encode(), timeout=DEADLINE_SECONDS) as answer:
        page = answer.read().decode()

    assert answer.url.endswith("/admin/")
    assert "Running now" in page


@pytest.mark.parametrize("block", [block for block in all_blocks() if block.is_for_compose], ids=str)
def test_the_manuals_commands_do_what_it_says(stack: Stack, block: Block) -> None:
    with terminal(ROOT, stack.environment) as shell:
        type_in(shell, block)


def test_only_the_web_port_is_published_and_only_on_localhost(stack: Stack) -> None:
    published = [port for container in stack.containers() for port in published_ports(container)]

    assert published == [("127.0.0.1", str(stack.port))]


@pytest.mark.parametrize("service", OURS)
def test_our_processes_have_no_privileges(stack: Stack, service: str) -> None:
    capabilities = stack.exec(service, "grep", "-h", "^Cap[EB]", "/proc/1/status")
    attempt = stack.exec(service, "sh", "-c", "id -u; touch /app/new /venv/new /secrets/new 2>&1 || true")

    assert set(re.findall(r"\w+$", capabilities, re.MULTILINE)) == {"0" * 16}
    assert attempt.startswith("10001\n")
    assert attempt.count("Read-only file system") == 3


def test_the_image_has_no_compiler_and_no_installer(stack: Stack) -> None:
    assert stack.exec("web", "sh", "-c", "command -v gcc cc make || ls /venv/bin | grep ^pip || true") == ""


def test_the_image_contains_only_what_is_needed_to_run(stack: Stack) -> None:
    names = stack.exec("web", "ls", "-A", "/app").split()

    assert {"manage.py", "proj", "tasks_app", "staticfiles"} <= set(names)
    assert not {"var", "tests", "docs"} & set(names)
    assert [name for name in names if name.startswith(".")] == []


def test_each_container_sees_only_its_own_secrets(stack: Stack) -> None:
    seen = {service: set(stack.exec(service, "ls", "/secrets").split()) for service in SERVICES}

    ours = {"secret_key", "database_url", "redis_password", "redis_url"}
    assert seen == {
        "db": {"postgres_password", "jobs_password"},
        "redis": {"redis.conf"},
        **dict.fromkeys(OURS, ours),
    }
    for service in SERVICES:
        assert stack.exec(service, "sh", "-c", "cat /secrets-for-admin/* 2>/dev/null || true") == ""


def test_the_application_owns_its_database_but_is_not_a_superuser(stack: Stack) -> None:
    printed = stack.shell(
        "from django.db import connection; cursor = connection.cursor();"
        "cursor.execute('SELECT rolname, rolsuper, rolcreaterole, rolcreatedb, rolreplication,'"
        "' pg_get_userbyid(datdba) FROM pg_roles, pg_database'"
        "' WHERE rolname = current_user AND datname = current_database()');"
        "print(cursor.fetchall())"
    )

    assert printed == "[('jobs', False, False, False, False, 'jobs')]"


def test_without_a_password_redis_only_allows_a_ping(stack: Stack) -> None:
    redis_cli = ("redis-cli", "--no-auth-warning", "--user", "health", "--pass", "none")

    assert "NOAUTH" in stack.exec("redis", "redis-cli", "ping")
    assert stack.exec("redis", *redis_cli, "ping") == "PONG"
    assert "NOPERM" in stack.exec("redis", *redis_cli, "llen", "celery")


NOT_ALLOWED = [
    *("FLUSHALL", "FLUSHDB", "KEYS *", "CONFIG GET *", "SHUTDOWN", "ACL LIST", "MODULE LIST", "MONITOR"),
    *("SCAN 0", "RANDOMKEY", "DBSIZE"),
    *("GET other", "SET other x", "DEL other", "LPUSH other x", "COPY jobs:x other", "RENAME jobs:x other"),
    *("MGET jobs:x other", "EVAL return(redis.call('GET','other')) 0"),
    *("PUBLISH other x", "SUBSCRIBE other", "PSUBSCRIBE *"),
]


def test_redis_allows_the_application_only_its_own_keys_and_channels_and_no_administration(
    stack: Stack,
) -> None:
    printed = stack.shell(
        "import redis\n"
        "from django.conf import settings\n"
        "client = redis.Redis.from_url(settings.CELERY_BROKER_URL)\n"
        "print(client.set('jobs:x', 1), client.delete('jobs:x'), client.publish('jobs:x', 1))\n"
        f"for command in {NOT_ALLOWED}:\n"
        "    try: print(command, client.execute_command(*command.split()))\n"
        "    except redis.ResponseError as error: print('permission' in str(error).lower())"
    )

    assert printed.splitlines() == ["True 1 0", *["True"] * len(NOT_ALLOWED)]


def test_djangos_deployment_check_finds_nothing_behind_https(stack: Stack) -> None:
    check = ("python", "manage.py", "check", "--deploy", "--fail-level", "WARNING")

    printed = stack.compose("run", "--rm", "-T", "--env", "BEHIND_HTTPS=true", "web", *check)

    assert "System check identified no issues" in printed


def test_the_redis_password_is_in_no_process_list(stack: Stack) -> None:
    password = stack.exec("web", "cat", "/secrets/redis_password")
    command_lines = stack.exec(
        "redis", "sh", "-c", "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>&1 || true"
    )

    assert "redis-server" in command_lines
    assert password not in command_lines


def test_a_restart_keeps_the_secrets_and_creates_no_second_account(stack: Stack) -> None:
    before = stack.exec("web", "sh", "-c", "cat /secrets/*")

    output = stack.compose("run", "--rm", "-T", "init")

    assert stack.exec("web", "sh", "-c", "cat /secrets/*") == before
    assert "Admin account" not in output


def test_three_workers_are_as_easy_as_one(stack: Stack) -> None:
    stack.up("--no-deps", "--no-recreate", "--scale", "worker=3", "worker")
    health = stack.health("worker")
    count = (
        "from jobledger.models import ServiceProcess\n"
        "print(ServiceProcess.objects.filter(kind='worker', ended_at=None).values('name').distinct().count())"
    )
    wait_until(lambda: int(stack.shell(count)) >= 3, what="each of them is on record")
    stack.up("--no-deps", "--no-recreate", "--scale", "worker=1", "worker")

    assert health == ["healthy"] * 3


def test_a_stopping_worker_finishes_its_job_first(stack: Stack) -> None:
    with locked(stack, "django_session"):
        run_id = stack.celery("call", "sessions.clearsessions")
        stack.wait_for_run(run_id, "running")
        stopping = stack.start("stop", "worker")
        wait_until(lambda: "Warm shutdown" in stack.compose("logs", "worker"))
        assert run_id in [run["id"] for run in stack.runs("--status", "running")]
    stopping.communicate(timeout=DEADLINE_SECONDS)
    (worker,) = stack.containers("worker")
    stack.up("--no-deps", "--no-recreate", "worker")

    assert (worker["State"]["Status"], worker["State"]["ExitCode"]) == ("exited", 0)
    stack.wait_for_run(run_id, "succeeded")
