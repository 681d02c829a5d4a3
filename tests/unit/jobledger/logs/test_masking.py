"""Secrets are masked in messages, their arguments, what the caller adds, and tracebacks."""

from pathlib import Path
from typing import Any

import pytest

from jobledger.jobs import registry
from jobledger.jobs.secrets import masked_prose
from jobledger.logs import masking
from jobledger.logs.running import LoggedRun, logging_as
from tests.unit.jobledger.jobs.builders import a_job
from tests.unit.jobledger.logs.builders import as_json, as_text

SECRET = "Kq7-pz9x/4'w"


@pytest.fixture(autouse=True)
def fresh() -> None:
    masking._pattern_with_settings.cache_clear()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", SECRET),
        ("SECRET_KEY_FALLBACKS", [SECRET]),
        ("EMAIL_HOST_PASSWORD", SECRET),
        ("SENTRY_DSN", SECRET),
        ("SHOP", {"api": [{"clientSecret": SECRET}]}),
        ("SHOP_URL", "https://user:Kq7-pz9x%2F4%27w@shop.example.com/"),
        ("SHOP_URL", "https://Kq7-pz9x%2F4%27w@shop.example.com/1"),
    ],
)
def test_the_value_of_a_secret_setting_is_masked(settings: Any, name: str, value: Any) -> None:
    setattr(settings, name, value)
    masking._pattern_with_settings.cache_clear()
    assert as_text("it is %r", SECRET).endswith('it is "********"')
    assert as_json("it is", facts=[{"it": f"({SECRET})"}])["facts"] == [{"it": "(********)"}]


def test_names_of_classes_are_no_secrets(settings: Any) -> None:
    text = f"{settings.AUTH_USER_MODEL} {settings.PASSWORD_HASHERS[0]} {settings.AUTHENTICATION_BACKENDS[0]}"
    assert masking.masked(text) == text


def test_the_working_directory_is_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "PWD", "OLDPWD":
        monkeypatch.setenv(name, "/srv/jobs")
    assert masking.masked("/srv/jobs/manage.py") == "/srv/jobs/manage.py"


def test_the_content_of_a_file_that_a_variable_names_is_masked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "secret"
    file.write_text("postgres://jobs:s3cr3t-in-url@db/jobs\n")
    monkeypatch.setenv("SHOP_DATABASE_URL_FILE", str(file))
    monkeypatch.setenv("SHOP_TOKEN_FILE", str(tmp_path / "missing"))
    monkeypatch.setenv("SHOP_PASSWORD", "in-the-environment")
    assert masking.masked("s3cr3t-in-url, in-the-environment") == "********, ********"


def test_a_default_of_a_secret_option_is_masked_although_the_run_has_no_options(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logged: list[str] = []

    def build(parser: Any) -> None:
        # Which needs the options that are being read.
        logged.append(masking.masked("building", run))
        parser.add_argument("--secret-key", default="topsecret99")

    run = LoggedRun(job="job", run_id="1")
    monkeypatch.setattr(registry, "all_jobs", lambda: {"job": a_job(build=build)})
    assert masking.masked("with topsecret99", run) == "with ********"
    assert set(logged) == {"building"}


def test_an_exception_does_not_reveal_what_it_quotes(settings: Any) -> None:
    settings.SECRET_KEY = SECRET
    masking._pattern_with_settings.cache_clear()
    try:
        raise ValueError(f"bad key {SECRET}")
    except ValueError:
        assert SECRET not in as_text("it failed", error=True)
        assert SECRET not in as_json("it failed", error=True)["exception"]


def test_a_secret_option_of_the_run_is_masked() -> None:
    run = LoggedRun(job="choosing", run_id="1", options={"api_key": "hunter2", "count": 7})
    with logging_as(run, is_process_wide=False):
        assert as_json("hunter2 %d", 7)["message"] == "******** 7"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("token=abc; next", "token=********; next"),
        ("password: 'a b', user: 'c'", "password: ********, user: 'c'"),
        ("Authorization: Bearer abc.def failed", "Authorization: ******** failed"),
        ('{"api_key": "abc", "id": 7}', '{"api_key": ********, "id": 7}'),
        ("run --password abc --days 7", "run --password ******** --days 7"),
        ("redis://:abc@redis:6379/0", "redis://:********@redis:6379/0"),
        ("postgres://jobs:abc@db/jobs failed", "postgres://jobs:********@db/jobs failed"),
        ("https://abc@sentry.example.com/1", "https://********@sentry.example.com/1"),
        ("GET /a?token=abc&page=2", "GET /a?token=********&page=2"),
        ("POST /start/jl_0123456789ab_aB-_9 HTTP", "POST /start/******** HTTP"),
        ("first\npassword=abc\nlast", "first\npassword=********\nlast"),
        ("password:\nlast", "password:\nlast"),
        ("mail ann@example.com, 12:30, key: value", "mail ann@example.com, 12:30, key: value"),
    ],
)
def test_what_a_text_calls_a_secret_is_masked_and_nothing_else(text: str, masked: str) -> None:
    assert masked_prose(text) == masked
