"""``configure(app)`` completes a Celery app's settings, and overrides none that the project sets."""

import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from django.utils.module_loading import import_string

from jobledger.celery import (
    RABBITMQ_SETTINGS,
    REDIS_SETTINGS,
    ROUTER,
    SETTINGS,
    configure,
    is_configured,
    settings_for,
)
from jobledger.runs.publishing.job_routes import HIGHEST
from proj.state import BASE_DIR

Arrangement = Callable[[Celery, Any], None]


def first(app: Celery, settings: Any) -> None:
    configure(app)
    app.config_from_object(settings, namespace="CELERY")


def last(app: Celery, settings: Any) -> None:
    app.config_from_object(settings, namespace="CELERY")
    configure(app)


def once_in_use(app: Celery, settings: Any) -> None:
    app.config_from_object(settings, namespace="CELERY")
    app.conf.get("timezone")  # reads the configuration
    configure(app)


@pytest.fixture(params=[first, last, once_in_use])
def arrangement(request: pytest.FixtureRequest) -> Arrangement:
    return request.param  # type: ignore[no-any-return]


def configured(arrangement: Arrangement = last, **settings: Any) -> Any:
    """The configuration of an app with these Django settings."""
    app = Celery("mine", set_as_current=False)
    arrangement(app, SimpleNamespace(**settings))
    return app.conf


def test_what_the_project_does_not_set_is_set(arrangement: Arrangement) -> None:
    conf = configured(arrangement)
    assert {name: conf[name] for name in SETTINGS} == dict(SETTINGS)


def test_what_the_project_sets_is_kept(arrangement: Arrangement) -> None:
    values = {name: f"mine {number}" for number, name in enumerate(SETTINGS)}
    conf = configured(arrangement, **{f"CELERY_{name.upper()}": value for name, value in values.items()})
    assert {name: conf[name] for name in SETTINGS} == values


def test_what_the_project_sets_on_the_app_is_kept() -> None:
    app = Celery("mine", set_as_current=False)
    app.conf.worker_disable_prefetch = False
    configure(app)
    app.conf.beat_scheduler = "mine"
    assert (app.conf.worker_disable_prefetch, app.conf.beat_scheduler) == (False, "mine")


def test_a_setting_with_an_old_name_is_kept() -> None:
    app = Celery("mine", set_as_current=False)
    app.config_from_object(SimpleNamespace(BROKER_URL="redis://", CELERYD_PREFETCH_MULTIPLIER=4))
    configure(app)
    assert app.conf.worker_prefetch_multiplier == 4


@pytest.mark.parametrize("url", ["redis://a", "rediss://a/1", "redis+socket:///a", "redis://a;redis://b"])
def test_options_of_redis_are_added_to_the_projects(arrangement: Arrangement, url: str) -> None:
    mine = {"socket_timeout": 3, "global_keyprefix": "x"}
    options = configured(
        arrangement, CELERY_BROKER_URL=url, CELERY_BROKER_TRANSPORT_OPTIONS=mine
    ).broker_transport_options
    assert (options["socket_timeout"], options["global_keyprefix"]) == (3, "x")
    assert options["socket_connect_timeout"] == 5
    assert mine == {"socket_timeout": 3, "global_keyprefix": "x"}


def test_each_broker_has_settings_of_its_own(arrangement: Arrangement) -> None:
    redis, rabbitmq = (configured(arrangement, CELERY_BROKER_URL=url) for url in ("redis://a", "amqp://a"))
    assert {name: redis[name] for name in REDIS_SETTINGS} == dict(REDIS_SETTINGS)
    assert not redis.broker_channel_error_retry
    assert {name: rabbitmq[name] for name in RABBITMQ_SETTINGS} == dict(RABBITMQ_SETTINGS)
    assert not rabbitmq.worker_disable_prefetch
    assert settings_for("memory://") == SETTINGS


def test_rabbitmq_confirms_each_message(arrangement: Arrangement) -> None:
    mine = {"client_properties": {"connection_name": "mine"}}
    options = configured(
        arrangement, CELERY_BROKER_URL="amqp://a", CELERY_BROKER_TRANSPORT_OPTIONS=mine
    ).broker_transport_options
    assert options["confirm_publish"] is True
    assert options["client_properties"] == mine["client_properties"]
    assert "socket_timeout" not in options


def test_rabbitmqs_certificate_is_for_its_host(arrangement: Arrangement) -> None:
    conf = configured(arrangement, CELERY_BROKER_URL="amqps://me:secret@Broker.example.com:5671//")
    assert conf.broker_use_ssl == {"server_hostname": "broker.example.com"}
    several = configured(arrangement, CELERY_BROKER_URL="amqps://a//;amqps://b//")
    assert not several.broker_use_ssl


def test_a_result_backend_that_is_down_does_not_block_for_long() -> None:
    conf = configured(CELERY_RESULT_BACKEND="redis://a")
    assert conf.result_backend_transport_options == {"retry_policy": {"timeout": 5.0}}


def test_a_sentinel_that_is_down_costs_one_attempt(arrangement: Arrangement) -> None:
    urls = {"CELERY_BROKER_URL": "sentinel://a;sentinel://b", "CELERY_RESULT_BACKEND": "sentinel://a"}
    mine = {"sentinel_kwargs": {"password": "x", "socket_timeout": 3}}
    none = {"sentinel_kwargs": None}
    conf = configured(
        arrangement,
        **urls,
        CELERY_BROKER_TRANSPORT_OPTIONS=mine,
        CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS=none,
    )
    expected = {"socket_timeout": 1, "socket_connect_timeout": 1, "retry": None}
    assert conf.broker_transport_options["sentinel_kwargs"] == {
        **expected,
        "password": "x",
        "socket_timeout": 3,
    }
    assert conf.result_backend_transport_options["sentinel_kwargs"] == expected


def test_certificates_of_redis_are_verified(arrangement: Arrangement) -> None:
    conf = configured(arrangement, CELERY_BROKER_URL="rediss://a", CELERY_RESULT_BACKEND="rediss://b")
    required = {"ssl_cert_reqs": "required"}
    assert (conf.broker_use_ssl, conf.redis_backend_use_ssl) == (required, required)


def test_what_the_project_says_of_certificates_is_kept(arrangement: Arrangement) -> None:
    urls = {"CELERY_BROKER_URL": "rediss://a", "CELERY_RESULT_BACKEND": "rediss://b"}
    mine = {"ssl_cert_reqs": "none"}
    conf = configured(arrangement, **urls, CELERY_BROKER_USE_SSL=mine, CELERY_REDIS_BACKEND_USE_SSL=mine)
    assert (conf.broker_use_ssl, conf.redis_backend_use_ssl) == (mine, mine)


@pytest.mark.parametrize("url", ["redis://a", "redis+socket:///a", "sentinel://a", "amqp://a"])
def test_no_other_connection_is_encrypted_unasked(url: str) -> None:
    conf = configured(CELERY_BROKER_URL=url, CELERY_RESULT_BACKEND="redis://a")
    assert not conf.broker_use_ssl
    assert not conf.redis_backend_use_ssl


def test_another_broker_gets_no_options_of_redis() -> None:
    conf = configured(CELERY_BROKER_URL="memory://", CELERY_RESULT_BACKEND="rpc://")
    assert (conf.broker_transport_options, conf.result_backend_transport_options) == ({}, {})


def test_the_projects_other_tasks_keep_celerys_semantics() -> None:
    conf, plain = configured(CELERY_BROKER_URL="amqp://a"), Celery("plain", set_as_current=False).conf
    tasks = [name for name in plain if name.startswith(("task_", "result_")) and name != "task_routes"]
    assert {name: conf[name] for name in tasks} == {name: plain[name] for name in tasks}


@pytest.mark.parametrize(
    ("own", "others"),
    [
        (None, []),
        ({"mine.*": "slow"}, [{"mine.*": "slow"}]),
        ("mine.router", ["mine.router"]),
        ([{"mine.*": "slow"}, "mine.router"], [{"mine.*": "slow"}, "mine.router"]),
    ],
    ids=["none", "a mapping", "a router", "several"],
)
def test_what_jobs_declare_takes_precedence_over_the_projects_routes(
    arrangement: Arrangement, own: Any, others: list[Any]
) -> None:
    assert configured(arrangement, CELERY_TASK_ROUTES=own).task_routes == [ROUTER, *others]


def test_redis_has_a_list_for_each_priority_that_a_job_can_have() -> None:
    options = configured(CELERY_BROKER_URL="redis://a").broker_transport_options
    assert options["priority_steps"] == list(range(HIGHEST + 1))


@pytest.mark.parametrize("name", ["beat_scheduler", "worker_consumer"])
def test_what_celery_imports_exists(name: str) -> None:
    assert import_string(SETTINGS[name].replace(":", "."))


def test_an_app_knows_whether_it_is_configured() -> None:
    app = Celery("mine", set_as_current=False)
    assert not is_configured(app)
    configure(app)
    assert is_configured(app)


@pytest.mark.parametrize(("command", "signal"), [("worker", "worker_init"), ("beat", "beat_init")])
def test_garbage_is_collected_once_a_worker_or_a_beat_is_loaded(command: str, signal: str) -> None:
    printed = printed_by_celery(
        command,
        "print(gc.isenabled())",
        f"signals.{signal}.send(sender=None); print(gc.isenabled(), gc.get_freeze_count() > 10_000)",
    )
    assert printed == ["False", "True True"]


def test_what_is_loaded_before_the_first_child_is_never_looked_through() -> None:
    create = "signals.worker_before_create_process.send(sender=None); print(gc.get_freeze_count())"
    first, second = printed_by_celery("worker", create, "rest = [[] for _ in range(10_000)]", create)
    assert int(first) > 10_000
    assert second == first


@pytest.mark.parametrize("command", ["call", "inspect"])
def test_other_processes_collect_garbage_as_ever(command: str) -> None:
    assert printed_by_celery(command, "print(gc.isenabled())") == ["True"]


def printed_by_celery(command: str, *statements: str) -> list[str]:
    """The lines that a new process prints that was started as this one of Celery's commands."""
    lines = [
        "import gc, sys",
        f"sys.argv = ['/venv/bin/celery', '-A', 'mine', {command!r}]",
        "from celery import Celery, signals",
        "from jobledger.celery import configure",
        "configure(Celery('mine'))",
        *statements,
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        cwd=BASE_DIR,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.splitlines()
