"""``manage.py check`` reports what is wrong with the project around the service, with its fix."""

from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, concurrency
from django.core.checks import CheckMessage
from pytest_django import Settings

from jobledger import checks
from jobledger.celery import configure
from jobledger.checks import project

WELL: dict[str, Any] = {"CELERY_BROKER_URL": "redis://here", "CELERY_RESULT_BACKEND": "redis://here"}


def found() -> list[CheckMessage]:
    return project.check_project()


def only() -> tuple[str | None, str, str]:
    (message,) = found()
    return message.id, message.msg, str(message.hint)


def use(monkeypatch: pytest.MonkeyPatch, app: Celery, **settings: Any) -> Celery:
    app.config_from_object(SimpleNamespace(**{**WELL, **settings}), namespace="CELERY")
    monkeypatch.setattr(project, "app_or_default", lambda: app)
    return app


def configured(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
    configure(use(monkeypatch, Celery("mine", set_as_current=False), **settings))


def use_database(monkeypatch: pytest.MonkeyPatch, vendor: str, **options: Any) -> None:
    made = {"vendor": vendor, "display_name": vendor.title(), "settings_dict": {"OPTIONS": options}}
    monkeypatch.setattr(project, "connection", SimpleNamespace(**made))


def test_the_project_itself_has_no_warnings() -> None:
    assert found() == []


def test_a_configured_app_has_no_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    configured(monkeypatch)
    assert found() == []


# --- The database


@pytest.mark.parametrize("vendor", ["mysql", "oracle", "microsoft"])
def test_an_unsupported_database_is_an_error(monkeypatch: pytest.MonkeyPatch, vendor: str) -> None:
    use_database(monkeypatch, vendor)
    name, text, hint = only()
    assert name == "jobledger.E001"
    assert text.startswith(f"The default database is {vendor.title()}")
    assert "Use PostgreSQL 14 to 18, or SQLite." in hint


@pytest.mark.parametrize("options", [{}, {"transaction_mode": "DEFERRED"}, {"transaction_mode": None}])
def test_deferred_transactions_of_sqlite_are_reported(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    use_database(monkeypatch, "sqlite", **options)
    name, _, hint = only()
    assert (name, '"transaction_mode": "IMMEDIATE"' in hint) == ("jobledger.W020", True)


@pytest.mark.parametrize(
    ("vendor", "options"),
    [
        ("sqlite", {"transaction_mode": "immediate"}),
        ("sqlite", {"transaction_mode": "EXCLUSIVE"}),
        ("postgresql", {}),
    ],
)
def test_a_supported_database_is_not_reported(
    monkeypatch: pytest.MonkeyPatch, vendor: str, options: dict[str, Any]
) -> None:
    use_database(monkeypatch, vendor, **options)
    assert found() == []


class Splitting:
    """A router that reads or writes some app's tables elsewhere."""

    app_label = "jobledger"

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return "replica" if model._meta.app_label == self.app_label else None


class SplittingBeat(Splitting):
    app_label = "django_celery_beat"


class SplittingOthers(Splitting):
    app_label = "tasks_app"


@pytest.mark.parametrize("router", [Splitting, SplittingBeat])
def test_a_router_that_splits_the_services_tables_is_reported(
    settings: Settings, router: type[Splitting]
) -> None:
    settings.DATABASE_ROUTERS = [f"{__name__}.{router.__name__}"]
    name, text, hint = only()
    assert (name, "'replica'" in text) == ("jobledger.W019", True)
    assert "jobledger and django_celery_beat" in hint


class NotHere:
    """A router that creates some app's tables in another database, and forgets to send queries there."""

    app_label = "django_celery_beat"

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        return db == "other" if app_label == self.app_label else None


class OthersNotHere(NotHere):
    app_label = "tasks_app"


def test_a_router_that_keeps_the_services_tables_from_being_created_is_reported(settings: Settings) -> None:
    settings.DATABASE_ROUTERS = [f"{__name__}.NotHere"]
    name, text, hint = only()
    assert (name, text.startswith("DATABASE_ROUTERS do not let")) == ("jobledger.W019", True)
    assert "allow_migrate" in hint


@pytest.mark.parametrize("router", [SplittingOthers, OthersNotHere])
def test_a_router_of_other_tables_is_not_reported(settings: Settings, router: type[object]) -> None:
    settings.DATABASE_ROUTERS = [f"{__name__}.{router.__name__}"]
    assert found() == []


# --- Processes


def test_workers_and_beat_do_not_start_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    use_database(monkeypatch, "mysql")
    with pytest.raises(SystemExit, match=r"The default database is Mysql.*\. Use PostgreSQL 14 to 18"):
        checks.refuse_to_start()


def test_they_start_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    configured(monkeypatch, CELERY_BROKER_URL=None)
    assert found() != []
    checks.refuse_to_start()


def test_they_start_with_an_error_that_is_silenced(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    use_database(monkeypatch, "mysql")
    settings.SILENCED_SYSTEM_CHECKS = ["jobledger.E001"]
    checks.refuse_to_start()


# --- Time


def test_naive_times_are_an_error(settings: Settings) -> None:
    settings.USE_TZ = False
    name, _, hint = only()
    assert (name, hint.startswith("Set USE_TZ = True.")) == ("jobledger.E002", True)


# --- Celery


def test_a_project_without_a_celery_app_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Celery("default", fixups=[], set_as_current=False), CELERY_BROKER_URL=None)
    name, text, hint = only()
    assert (name, "no Celery app" in text, "mysite/celery.py" in hint) == ("jobledger.W013", True, True)


def test_an_app_that_is_not_configured_is_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Celery("mine", set_as_current=False))
    name, text, hint = only()
    assert (name, "'mine'" in text, "`configure(app)`" in hint) == ("jobledger.W014", True, True)


@pytest.mark.parametrize(
    ("setting", "value", "stake"),
    [
        ("BEAT_SCHEDULER", "django_celery_beat.schedulers:DatabaseScheduler", "records no missed runs"),
        ("WORKER_CONSUMER", "mine:Consumer", "a malformed message can stop a worker"),
        ("WORKER_DISABLE_PREFETCH", False, "runs wait for a busy worker"),
        ("WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS", True, "running jobs are cancelled"),
        ("BROKER_CONNECTION_RETRY_ON_STARTUP", False, "workers exit"),
        ("TASK_ALWAYS_EAGER", True, "execute a job in the process that calls them"),
        ("WORKER_POOL", "solo", "workers do not start"),
        ("WORKER_POOL", "gevent", "workers do not start"),
        ("WORKER_POOL", "eventlet", "workers do not start"),
        ("ACCEPT_CONTENT", ["json", "pickle"], "can execute code in a worker"),
        ("ACCEPT_CONTENT", ["yaml"], "do not accept the messages of runs"),
    ],
)
def test_what_is_at_stake_is_said_if_the_project_sets_something_else(
    monkeypatch: pytest.MonkeyPatch, setting: str, value: Any, stake: str
) -> None:
    configured(monkeypatch, **{f"CELERY_{setting}": value})
    name, text, hint = only()
    assert (name, text.startswith(f"CELERY_{setting} is {value!r}: ")) == ("jobledger.W015", True)
    assert stake in text
    assert hint.startswith("Remove it, or set it to ")


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_pool_that_executes_jobs_is_not_reported(monkeypatch: pytest.MonkeyPatch, pool: str) -> None:
    configured(monkeypatch, CELERY_WORKER_POOL=pool)
    assert found() == []


def test_every_pool_that_a_worker_refuses_by_name_is_reported() -> None:
    others = set(concurrency.get_available_pool_names()) - {"prefork", "processes", "threads", "custom"}
    assert others == project._OTHER_POOLS


@pytest.mark.parametrize("setting", ["TASK_TIME_LIMIT", "TASK_SOFT_TIME_LIMIT"])
def test_a_time_limit_of_all_tasks_is_reported(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    configured(monkeypatch, **{f"CELERY_{setting}": 300})
    name, text, hint = only()
    assert (name, text.startswith(f"CELERY_{setting} is 300")) == ("jobledger.W018", True)
    assert "Set `time_limit` of jobs" in hint


def test_celerys_own_beat_schedule_is_not_ignored_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    configured(monkeypatch, CELERY_BEAT_SCHEDULE={"nightly": {"task": "mine.nightly", "schedule": 60.0}})
    assert only()[:2] == ("jobledger.W002", "CELERY_BEAT_SCHEDULE is set, but it is ignored.")
