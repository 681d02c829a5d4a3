"""Valid values are accepted; for invalid ones, the error says what is expected."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from proj.environment import Environment
from proj.state import BASE_DIR
from tests.tls import CA


def given(monkeypatch: pytest.MonkeyPatch, value: str) -> Environment:
    monkeypatch.setenv("NAME", value)
    monkeypatch.setenv("NAME_URL", value)
    return Environment()


CERTIFICATE = CA().pem.strip()
ASKED = {
    "flag": lambda env: env.flag("NAME", default=False),
    "whole": lambda env: env.whole("NAME", 4),
    "seconds": lambda env: env.seconds("NAME", 2),
    "days": lambda env: env.days("NAME", 30),
    "limited_days": lambda env: env.limited_days("NAME", 365),
    "zone": lambda env: env.zone("NAME", "UTC"),
    "log_level": lambda env: env.log_level("NAME", "INFO"),
    "broker": lambda env: env.broker("NAME_URL", "redis://here"),
    "rabbitmq": lambda env: env.rabbitmq("NAME_URL"),
    "result_backend": lambda env: env.result_backend("NAME_URL"),
    "certificates": lambda env: env.certificates("NAME"),
    "database": lambda env: env.database("NAME_URL", "sqlite:////x")["ENGINE"],
    "texts": lambda env: env.texts("NAME", ["here"]),
    "pairs": lambda env: env.pairs("NAME"),
    "server": lambda env: env.server("NAME"),
    "issuer": lambda env: env.issuer("NAME"),
    "key_prefix": lambda env: env.key_prefix("NAME", "jobs:"),
    "mail_server": lambda env: env.mail_server("NAME_URL").get("EMAIL_HOST"),
}


@pytest.mark.parametrize(
    ("kind", "value", "taken"),
    [
        ("flag", "Yes", True),
        ("flag", "off", False),
        ("whole", " 12 ", 12),
        ("whole", "", 4),
        ("seconds", "0.25", 0.25),
        ("days", "1.5", 1.5),
        ("days", "", 30),
        ("days", " Forever ", None),
        ("zone", "Europe/Paris", "Europe/Paris"),
        ("log_level", "debug", "DEBUG"),
        ("broker", "rediss://:x@there:1/0", "rediss://:x@there:1/0"),
        ("broker", "sentinel://:x@a:1/2", "sentinel://:x@a:1/2"),
        (
            "broker",
            "sentinel://me:x@a;sentinel://b:2;c/3",
            "sentinel://me:x@a:26379/3;sentinel://me:x@b:2/3;sentinel://me:x@c:26379/3",
        ),
        ("broker", "sentinel://[::1];d", "sentinel://[::1]:26379;sentinel://d:26379"),
        ("rabbitmq", "", ""),
        ("rabbitmq", "amqps://me:x@a:5671/v;amqps://b//", "amqps://me:x@a:5671/v;amqps://b//"),
        ("result_backend", "", ""),
        ("result_backend", "db+postgresql://a:b@c/d", "db+postgresql://a:b@c/d"),
        ("result_backend", "sentinel://:x@a;b/1", "sentinel://:x@a:26379/1;sentinel://:x@b:26379/1"),
        ("certificates", "", ""),
        ("certificates", CERTIFICATE, CERTIFICATE),
        ("database", "postgres://a:b@c/d", "django.db.backends.postgresql"),
        ("texts", "a, b,,c ", ["a", "b", "c"]),
        ("texts", "", ["here"]),
        ("pairs", "", []),
        ("pairs", "ops = Job operators,ops=Job viewers,", [("ops", "Job operators"), ("ops", "Job viewers")]),
        ("pairs", "cn=ops=x", [("cn", "ops=x")]),
        ("issuer", "", ""),
        ("server", "", ""),
        (
            "server",
            "https://user:pass@otel.example.com:4318/v1",
            "https://user:pass@otel.example.com:4318/v1",
        ),
        ("key_prefix", "", ""),
        ("key_prefix", "{team}.jobs-", "{team}.jobs-"),
        ("mail_server", "", None),
        ("mail_server", "smtp+tls://user:pass@mail.example.com:587", "mail.example.com"),
        ("issuer", "https://login.example.com/realms/staff/", "https://login.example.com/realms/staff"),
        ("issuer", "http://127.0.0.1:8080", "http://127.0.0.1:8080"),
    ],
)
def test_valid_values_are_accepted(
    monkeypatch: pytest.MonkeyPatch, kind: str, value: str, taken: Any
) -> None:
    assert ASKED[kind](given(monkeypatch, value)) == taken


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("flag", "perhaps", "NAME is 'perhaps'; expected true or false"),
        ("whole", "x", "NAME is 'x'; expected an integer of at least 1"),
        ("whole", "0", "of at least 1"),
        ("seconds", "-1", "positive number"),
        ("days", "0.5", "NAME is '0.5'; expected a number of days of at least 1, or forever"),
        ("days", "inf", "a number of days"),
        ("days", "never", "a number of days"),
        ("limited_days", "forever", "NAME is 'forever'; expected a number of days of at least 1."),
        ("seconds", "nan", "positive number"),
        ("zone", "Mars/Olympus", "a time zone"),
        ("log_level", "loud", "one of DEBUG, INFO"),
        ("broker", "amqp://here", "a URL such as redis://"),
        ("rabbitmq", "redis://here", "a URL such as amqp://"),
        ("rabbitmq", "amqp://a;redis://b", "a URL such as amqp://"),
        ("rabbitmq", "amqp://", "a URL such as amqp://"),
        ("rabbitmq", "amqp://me:pass/word@here", "a URL such as amqp://"),
        ("broker", "sentinel://a;redis://b", "a URL such as redis://"),
        ("broker", "sentinel://a;", "a URL such as redis://"),
        ("result_backend", "sentinel://a;redis://b", "a URL such as redis://"),
        ("certificates", "/etc/ssl/ca.pem", "NAME is not valid; expected CA certificates in PEM format"),
        ("database", "mysql://here/x", "a URL such as postgres://"),
        ("pairs", "ops", "pairs such as ops=Job operators"),
        ("pairs", "ops=,dev=Job viewers", "pairs such as"),
        ("issuer", "login.example.com", "an address such as https://"),
        ("issuer", "http://login.example.com", "an address such as https://"),
        ("issuer", "https://login.example.com/?realm=staff", "an address such as https://"),
        ("issuer", "https://[", "an address such as https://"),
        ("server", "notaurl", "NAME is not a valid URL; expected an address such as http://otel-collector"),
        ("server", "otel-collector:4318", "an address such as http://otel-collector"),
        ("server", "grpc://otel-collector:4317", "an address such as http://otel-collector"),
        ("server", "http://:4318", "an address such as http://otel-collector"),
        ("server", "http://otel:port", "an address such as http://otel-collector"),
        ("mail_server", "smtp", "NAME_URL is not a valid URL; expected a URL such as smtp"),
        (
            "mail_server",
            "imap://mail.example.com",
            "NAME_URL is not a valid URL; expected a URL such as smtp",
        ),
        ("key_prefix", "job*", "a text without spaces"),
        ("key_prefix", "a b", "a text without spaces"),
        ("key_prefix", "a\x1bb", "a text without spaces"),
    ],
)
def test_invalid_values_are_named(
    monkeypatch: pytest.MonkeyPatch, kind: str, value: str, expected: str
) -> None:
    with pytest.raises(ImproperlyConfigured, match=expected):
        ASKED[kind](given(monkeypatch, value))


@pytest.mark.parametrize(
    ("kind", "url"),
    [
        ("database", "mysql://user:hunter2@here/x"),
        ("database", "postgres://user:hunter2/x@here/x"),
        ("broker", "redis://user:hunter2/x@here"),
        ("broker", "sentinel://a;sentinel://user:hunter2/x@here"),
        ("result_backend", "sentinel://user:hunter2/x@here"),
    ],
)
def test_a_password_is_not_repeated(monkeypatch: pytest.MonkeyPatch, kind: str, url: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        ASKED[kind](given(monkeypatch, url))
    assert "hunter2" not in str(caught.value)


PROVIDER = {"OIDC_ISSUER": "https://login.example.com", "OIDC_CLIENT_ID": "jobs"}


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL is 'loud'"),
        ({"LEASE_SECONDS": "3"}, "at least three times HEARTBEAT_SECONDS"),
        ({"PASSWORD_LOGIN": "false"}, "expected an OIDC_ISSUER"),
        ({"REDIS_CA_FILE": "/nowhere"}, "REDIS_CA_FILE is '/nowhere', which cannot be read: No such file"),
        ({"REDIS_CA_FILE": sys.executable}, "which cannot be read: it is not text"),
        ({"REDIS_CA": CERTIFICATE, "REDIS_URL": "redis://a"}, "expected a REDIS_URL that starts with rediss"),
        (PROVIDER, "expected OIDC_CLIENT_ID, and OIDC_GROUPS"),
        ({**PROVIDER, "OIDC_CLIENT_ID": "", "OIDC_GROUPS": "a=b"}, "expected OIDC_CLIENT_ID"),
    ],
)
def test_manage_py_says_it_in_one_line(variables: dict[str, str], said: str) -> None:
    environment = {**os.environ, **variables}
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert said in done.stderr


@pytest.mark.parametrize(
    ("urls", "trusting"),
    [
        ({"REDIS_URL": "rediss://a"}, [True, True]),
        ({"REDIS_URL": "rediss://a", "RESULT_BACKEND_URL": "redis://b"}, [True, False]),
        ({"REDIS_URL": "redis://a", "RESULT_BACKEND_URL": "rediss://b"}, [False, True]),
    ],
    ids=["both", "broker", "results"],
)
def test_a_ca_is_trusted_where_the_connection_is_encrypted(
    urls: dict[str, str], trusting: list[bool]
) -> None:
    code = (
        "from proj.celery import app; options = app.conf.broker_use_ssl, app.conf.redis_backend_use_ssl; "
        "print(['ssl_ca_data' in (each or {}) for each in options])"
    )
    environment = {**os.environ, "REDIS_CA": CERTIFICATE, **urls}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=BASE_DIR, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(trusting)


@pytest.mark.parametrize(
    ("urls", "expected"),
    [
        ({"RABBITMQ_URL": "amqp://a"}, ["amqp://a", "disabled://", "quorum"]),
        ({"RABBITMQ_URL": "amqp://a", "REDIS_URL": "redis://b"}, ["amqp://a", "redis://b", "quorum"]),
        (
            {"RABBITMQ_URL": "amqp://a", "RESULT_BACKEND_URL": "redis://c"},
            ["amqp://a", "redis://c", "quorum"],
        ),
        ({"REDIS_URL": "redis://b"}, ["redis://b", "redis://b", "classic"]),
    ],
)
def test_rabbitmq_carries_the_messages_and_redis_keeps_the_results(
    urls: dict[str, str], expected: list[str]
) -> None:
    code = (
        "from proj.celery import app; conf = app.conf; assert conf.task_default_queue_type == "
        "conf.task_create_missing_queue_type; "
        "print(conf.broker_url, conf.result_backend, conf.task_default_queue_type)"
    )
    command = [sys.executable, "-c", code]
    environment = {**os.environ, **urls}
    done = subprocess.run(command, cwd=BASE_DIR, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == expected


@pytest.mark.parametrize(("query", "seconds"), [("", 10), ("?connect_timeout=3&sslmode=prefer", 3)])
def test_a_server_that_has_gone_away_without_a_word_is_given_up(query: str, seconds: int) -> None:
    code = (
        "from proj.settings import DATABASES; options = DATABASES['default']['OPTIONS']; "
        "print(options['connect_timeout'], options['tcp_user_timeout'], options.get('sslmode'))"
    )
    environment = {**os.environ, "DATABASE_URL": f"postgres://a:b@nowhere/jobs{query}"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=BASE_DIR, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(seconds), "60000", "prefer" if query else "None"]


@pytest.mark.parametrize(("query", "seconds"), [("", 20), ("?timeout=60", 60)])
def test_the_url_of_sqlite_may_have_options(query: str, seconds: int, tmp_path: Path) -> None:
    code = "from proj.settings import DATABASES; print(DATABASES['default']['OPTIONS'])"
    environment = {**os.environ, "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3{query}"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=BASE_DIR, env=environment, capture_output=True, text=True, check=True)
    assert f"'timeout': {seconds}" in done.stdout
    assert "'transaction_mode': 'IMMEDIATE'" in done.stdout


def test_networks_are_comma_separated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTED_PROXIES", "10.0.0.5, 172.16.0.0/12,2001:db8::/32")
    assert [str(each) for each in Environment().networks("TRUSTED_PROXIES")] == [
        "10.0.0.5/32",
        "172.16.0.0/12",
        "2001:db8::/32",
    ]
    monkeypatch.setenv("TRUSTED_PROXIES", "10.0.0.5/8")
    with pytest.raises(
        ImproperlyConfigured, match="expected a comma-separated list of addresses or networks"
    ):
        Environment().networks("TRUSTED_PROXIES")
