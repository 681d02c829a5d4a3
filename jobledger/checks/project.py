"""Checks of the project around the service: its Celery app, its database, its time.

Without the features that make a run unique, an unsupported database or naive times are errors.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from celery.app import app_or_default
from django.apps import apps
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage
from django.db import DEFAULT_DB_ALIAS, connection, models, router

from jobledger.alerts.sending import message
from jobledger.celery import is_configured, settings_for
from jobledger.checks import broker
from jobledger.checks.broker import named
from jobledger.conf import settings as settings_of_service
from jobledger.jobs import functions

DATABASES = ("postgresql", "sqlite")
_APPS = ("jobledger", "django_celery_beat")
_JSON = {"json", "application/json"}
_PICKLE = {"pickle", "application/x-python-serialize"}

AT_STAKE: Mapping[str, str] = {
    "beat_scheduler": "celery beat records no missed runs, and ignores pauses and policies",
    "worker_consumer": "a malformed message can stop a worker, and its log shows secret options",
    "worker_disable_prefetch": "runs wait for a busy worker while another one is free",
    "broker_connection_retry_on_startup": "workers exit if the broker cannot be reached when they start",
    "broker_channel_error_retry": "workers exit when RabbitMQ closes their channel because of a long job",
    "worker_cancel_long_running_tasks_on_connection_loss": (
        "running jobs are cancelled when the connection to the broker is lost"
    ),
}
"""What happens if the project sets one of Celery's settings to another value than ``configure`` would."""
_OTHER_POOLS = {"solo", "gevent", "eventlet"}


def check_project(**kwargs: Any) -> list[CheckMessage]:
    """The database, the time zone support and Celery are as the service needs them."""
    return [*_database(), *_routers(), *_time(), *_celery(), *_tasks()]


def check_links(**kwargs: Any) -> list[CheckMessage]:
    """Alerts can link to the admin, if they should. Apart from the others, since it loads the URLconf."""
    if not settings_of_service.BASE_URL or message.link_to("jobledger_run_changelist"):
        return []
    return [
        checks.Warning(
            "BASE_URL is set, but alerts have no links: the admin site "
            f"{settings_of_service.ADMIN_SITE!r} does not have the service's pages, or is not in the URLs.",
            hint='Set JOBLEDGER["ADMIN_SITE"] to the name of the site that has them, or remove BASE_URL.',
            id="jobledger.W025",
        )
    ]


def _tasks() -> Iterator[CheckMessage]:
    if functions.named_backends() and not functions.framework_name():
        yield checks.Warning(
            "TASKS names a backend of jobledger, but there is neither django.tasks nor its backport: nothing "
            "can be enqueued.",
            hint="Install django-jobledger[tasks], or Django 6.0 or later.",
            id="jobledger.W031",
        )


def _database() -> Iterator[CheckMessage]:
    if connection.vendor not in DATABASES:
        yield checks.Error(
            f"The default database is {connection.display_name}, which jobledger does not support.",
            hint="Use PostgreSQL 14 to 18, or SQLite. Elsewhere, a job could run more than once at a time.",
            id="jobledger.E001",
        )
    mode = connection.settings_dict.get("OPTIONS", {}).get("transaction_mode") or "DEFERRED"
    if connection.vendor == "sqlite" and mode.upper() not in ("IMMEDIATE", "EXCLUSIVE"):
        options = '{"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"}'
        yield checks.Warning(
            "Transactions of the SQLite database do not begin as immediate ones: processes that write at the "
            "same time fail with “database is locked”.",
            hint=f'Set DATABASES["default"]["OPTIONS"] = {options}.',
            id="jobledger.W020",
        )


def _routers() -> Iterator[CheckMessage]:
    aliases = {alias for model in service_models() for alias in _databases_of(model)}
    if elsewhere := sorted(aliases - {DEFAULT_DB_ALIAS}):
        yield checks.Warning(
            f"DATABASE_ROUTERS send tables of the service to {', '.join(map(repr, elsewhere))}, but it uses "
            "the default database: its transactions would not include them.",
            hint=f"Let the routers return {DEFAULT_DB_ALIAS!r} for reads and writes of the apps "
            f"{' and '.join(_APPS)}.",
            id="jobledger.W019",
        )
    if not all(router.allow_migrate_model(DEFAULT_DB_ALIAS, model) for model in service_models()):
        yield checks.Warning(
            "DATABASE_ROUTERS do not let `manage.py migrate` create all tables of the service in the default "
            "database, which it uses.",
            hint=f"Let allow_migrate() of the routers return True for {DEFAULT_DB_ALIAS!r} and the apps "
            f"{' and '.join(_APPS)}.",
            id="jobledger.W019",
        )


def service_models() -> list[type[models.Model]]:
    """The models of all tables that the service uses."""
    return [model for label in _APPS for model in apps.get_app_config(label).get_models()]


def _databases_of(model: type[models.Model]) -> tuple[str, str]:
    return router.db_for_read(model), router.db_for_write(model)


def _time() -> Iterator[CheckMessage]:
    if not settings.USE_TZ:
        yield checks.Error(
            "USE_TZ is False, but the times of runs and schedules are aware of time zones.",
            hint="Set USE_TZ = True. TIME_ZONE can stay as it is.",
            id="jobledger.E002",
        )


def _celery() -> Iterator[CheckMessage]:
    app: Any = app_or_default()  # the stubs lack some attributes
    if _is_fallback(app):
        yield checks.Warning(
            "This project has no Celery app, or does not import it: no process can publish a run.",
            hint="Create the app in a module of the project, such as mysite/celery.py, and import it in "
            "mysite/__init__.py: https://docs.celeryq.dev/en/stable/django/first-steps-with-django.html",
            id="jobledger.W013",
        )
        return
    yield from _configuration(app)
    yield from _execution(app)
    yield from broker.check(app)
    yield from _content(app)
    yield from _time_limits(app)


def _is_fallback(app: Any) -> bool:
    """Whether Celery made this app itself, because there is no other."""
    return bool(app.main == "default" and not app.set_as_current)


def _configuration(app: Any) -> Iterator[CheckMessage]:
    if not is_configured(app):
        yield checks.Warning(
            f"The Celery app {app.main!r} does not have the settings that the service needs.",
            hint="Add `from jobledger.celery import configure` and `configure(app)` where the app is made.",
            id="jobledger.W014",
        )
        return
    expected = settings_for(app.conf.broker_url)
    for name, stake in AT_STAKE.items():
        if name in expected and app.conf[name] != expected[name]:
            yield checks.Warning(
                f"{named(app, name)} is {app.conf[name]!r}: {stake}.",
                hint=f"Remove it, or set it to {expected[name]!r}.",
                id="jobledger.W015",
            )
    if app.conf.beat_schedule:
        yield checks.Warning(
            f"{named(app, 'beat_schedule')} is set, but it is ignored.",
            hint="Declare schedules in JobCommand.schedules, or create them in the admin.",
            id="jobledger.W002",
        )


def _execution(app: Any) -> Iterator[CheckMessage]:
    """Settings that ``configure`` leaves at Celery's own defaults."""
    if app.conf.task_always_eager:
        yield checks.Warning(
            f"{named(app, 'task_always_eager')} is {app.conf.task_always_eager!r}: `delay()` and "
            "`apply_async()` execute a job in the process that calls them instead of a worker.",
            hint="Remove it, or set it to False. Tests can set it in settings of their own.",
            id="jobledger.W015",
        )
    if app.conf.worker_pool in _OTHER_POOLS:
        yield checks.Warning(
            f"{named(app, 'worker_pool')} is {app.conf.worker_pool!r}: workers do not start, because they "
            "could not end a job without ending themselves.",
            hint="Remove it, or set it to 'prefork', or to 'threads' for jobs that mostly wait. For one job "
            "at a time, set `worker_concurrency` to 1.",
            id="jobledger.W015",
        )


def _content(app: Any) -> Iterator[CheckMessage]:
    accepted = set(app.conf.accept_content)
    if accepted & _PICKLE or not accepted & _JSON:
        stake = (
            "whoever can write to the broker can execute code in a worker"
            if accepted & _PICKLE
            else "workers do not accept the messages of runs"
        )
        yield checks.Warning(
            f"{named(app, 'accept_content')} is {app.conf.accept_content!r}: {stake}.",
            hint='Remove it, or set it to ["json"].',
            id="jobledger.W015",
        )


def _time_limits(app: Any) -> Iterator[CheckMessage]:
    for name in ("task_time_limit", "task_soft_time_limit"):
        if app.conf[name]:
            yield checks.Warning(
                f"{named(app, name)} is {app.conf[name]!r}: after as many seconds, it interrupts jobs, too, "
                "even while the end of a run is being recorded.",
                hint="Remove it. Set `time_limit` of jobs that need one, and the limits of your own tasks.",
                id="jobledger.W018",
            )
