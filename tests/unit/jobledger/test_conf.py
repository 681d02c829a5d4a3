"""``JOBLEDGER`` overrides the service's defaults, and its mistakes are named."""

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from pytest_django import Settings

from jobledger import conf
from tests.unit.builders import override


def test_without_overrides_every_setting_has_its_default(settings: Settings) -> None:
    settings.JOBLEDGER = {}
    assert conf.current() == conf.Settings()


def test_a_key_overrides_its_default_and_no_other(settings: Settings) -> None:
    settings.JOBLEDGER = {"LEASE_SECONDS": 120}
    assert (conf.settings.LEASE_SECONDS, conf.settings.HEARTBEAT_SECONDS) == (120, 2)


def test_a_setting_follows_djangos_override() -> None:
    with override_settings(JOBLEDGER={"LEASE_SECONDS": 120}):
        assert conf.settings.LEASE_SECONDS == 120
    assert conf.settings.LEASE_SECONDS == 60


def test_a_misspelt_setting_in_the_code_is_an_error() -> None:
    with pytest.raises(AttributeError):
        conf.settings.LEASE  # type: ignore[attr-defined]  # noqa: B018


def test_every_key_is_validated() -> None:
    assert set(conf.RULES) == {field.name for field in fields(conf.Settings)}


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("EXPOSED_COMMANDS", "clearsessions", 'a list such as ["clearsessions"]'),
        ("EXPOSED_COMMANDS", ["clearsessions", 5], "a list such as"),
        ("EXPOSED_COMMANDS", {"clearsessions": None}, 'a dictionary such as {"clearsessions": '),
        ("SCHEDULABLE_TASKS", "billing.*", 'a list of task names or patterns, such as ["billing.*"]'),
        ("HEARTBEAT_SECONDS", 0, "a positive number of seconds"),
        ("LEASE_SECONDS", "60", "a positive number of seconds"),
        ("LEASE_SECONDS", float("nan"), "a positive number of seconds"),
        ("SHUTDOWN_GRACE_SECONDS", None, "a positive number of seconds"),
        ("REPUBLISH_AFTER_SECONDS", 1e9, "at most a year"),
        ("RUN_OUTPUT_LIMIT_BYTES", 1.5, "a number of bytes"),
        ("RUN_OPTIONS_LIMIT_BYTES", True, "a number of bytes"),
        ("MESSAGE_LIMIT_BYTES", -1, "a number of bytes"),
        ("HEALTH_DIR", None, "a directory, or an empty string"),
        ("BASE_URL", "jobs.example.com", "an address such as https://jobs.example.com"),
        ("BASE_URL", None, "an address such as"),
        ("BASE_URL", "http://[", "an address such as"),
        ("ALERT_WAIT_SECONDS", 0, "a positive number of seconds"),
        ("ALERT_INTERVAL_SECONDS", -1, "a positive number of seconds"),
        ("ALERT_DEADLINE_SECONDS", "1d", "a positive number of seconds"),
        ("KEEP_DAYS", 0, "a number of days, at least 1, or None to keep everything"),
        ("KEEP_DAYS", float("nan"), "a number of days, at least 1"),
        ("KEEP_DAYS", True, "a number of days, at least 1"),
        ("KEEP_DAYS", float("inf"), "or None to keep everything, and at most a century"),
        ("KEEP_AUDIT_DAYS", 1e12, "or None to keep everything, and at most a century"),
        ("KEEP_RUNS", 0, "a number of runs of each job, at least 1"),
        ("KEEP_RUNS", None, "a number of runs of each job"),
        ("KEEP_AUDIT_DAYS", "30", "a number of days"),
        ("METRICS_NETWORKS", "10.0.0.0/8", 'a list of networks, such as ["10.0.0.0/8"]'),
        ("METRICS_NETWORKS", ["10.0.0.1/8"], "a list of networks"),
    ],
)
def test_an_invalid_value_is_named_with_what_is_valid(
    settings: Settings, key: str, value: Any, expected: str
) -> None:
    override(settings, **{key: value})
    with pytest.raises(ImproperlyConfigured) as caught:
        conf.current()
    assert str(caught.value).startswith(f'JOBLEDGER["{key}"] is {value!r}; expected ')
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("EXPOSED_COMMANDS", ("clearsessions",)),
        ("EXPOSED_COMMANDS", {"clearsessions": {"max_retries": 3}}),
        ("HEARTBEAT_SECONDS", 0.3),
        ("KEEP_DAYS", None),
        ("KEEP_DAYS", 1.5),
        ("KEEP_AUDIT_DAYS", 36600),
        ("HEALTH_DIR", Path("/tmp")),
        ("METRICS_TOKEN", "a" * 16),
        ("METRICS_TOKEN", ""),
    ],
)
def test_a_valid_value_is_accepted(settings: Settings, key: str, value: Any) -> None:
    override(settings, **{key: value})
    assert getattr(conf.settings, key) == value


def test_a_secret_value_is_not_quoted(settings: Settings) -> None:
    override(settings, BEAT_PING_URL="hc-ping.com/s3cret")
    with pytest.raises(ImproperlyConfigured) as caught:
        conf.current()
    assert "s3cret" not in str(caught.value)
    assert 'JOBLEDGER["BEAT_PING_URL"] is not valid; expected an address' in str(caught.value)


@pytest.mark.parametrize(
    "token", ["s3cret", "s3cret" * 5 + "ü", "s3cret of many words", "s3cret" * 5 + "\n", None]
)
def test_a_token_must_be_long_and_fit_into_a_header_and_is_not_quoted(
    settings: Settings, token: str | None
) -> None:
    override(settings, METRICS_TOKEN=token)
    with pytest.raises(ImproperlyConfigured) as caught:
        conf.current()
    assert str(caught.value).startswith('JOBLEDGER["METRICS_TOKEN"] is not valid; expected at least 16 ')
    assert "s3cret" not in str(caught.value)


def test_a_lease_is_longer_than_a_few_heartbeats(settings: Settings) -> None:
    override(settings, LEASE_SECONDS=29, HEARTBEAT_SECONDS=10)
    with pytest.raises(ImproperlyConfigured, match="at least three times HEARTBEAT_SECONDS, which is 10"):
        conf.current()


def test_something_else_than_a_dictionary_is_refused(settings: Settings) -> None:
    settings.JOBLEDGER = ["LEASE_SECONDS"]
    with pytest.raises(ImproperlyConfigured, match="expected a dictionary such as"):
        conf.current()


def test_an_unknown_key_is_named_with_the_nearest_one_and_has_no_effect(settings: Settings) -> None:
    settings.JOBLEDGER = {"LEASE_SECOND": 5, "lease_seconds": 5, "BRIOCHE": 5}
    assert conf.settings.LEASE_SECONDS == 60
    assert list(conf.unknown_keys()) == [
        ("BRIOCHE", ""),
        ("LEASE_SECOND", "LEASE_SECONDS"),
        ("lease_seconds", "LEASE_SECONDS"),
    ]


def test_no_process_starts_with_an_invalid_value(tmp_path: Path) -> None:
    (tmp_path / "invalid.py").write_text(
        "from tests.settings import *\nJOBLEDGER = {'LEASE_SECONDS': 'long'}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "django", "check"],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "invalid", "PYTHONPATH": f"{tmp_path}{os.pathsep}."},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "JOBLEDGER[\"LEASE_SECONDS\"] is 'long'; expected a positive number" in done.stderr
