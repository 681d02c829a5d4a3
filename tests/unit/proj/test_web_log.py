"""gunicorn's logs have the service's format, and contain neither probes nor secrets.

These tests also fail if gunicorn changes the methods that the logger overrides.
"""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.http import HttpRequest, HttpResponse
from django.urls import path
from gunicorn.config import Config

from proj.web_log import Logger


def view(request: HttpRequest, token: str) -> HttpResponse:
    """Never called."""
    return HttpResponse(token)


urlpatterns = [path("feeds/<str:token>.ics", view)]


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """The handlers write to streams of the test."""
    yield
    for name in "gunicorn.error", "gunicorn.access":
        logging.getLogger(name).handlers.clear()


def logger(monkeypatch: pytest.MonkeyPatch, log_format: str) -> Logger:
    monkeypatch.setenv("LOG_FORMAT", log_format)
    config = Config()
    config.set("accesslog", "-")
    return Logger(config)


def request(made: Logger, url: str, status: str = "200 OK", referer: str = "-") -> None:
    where, _, query = url.partition("?")
    environ = {
        "REQUEST_METHOD": "GET",
        "RAW_URI": url,
        "PATH_INFO": where,
        "QUERY_STRING": query,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "10.0.0.7",
        "HTTP_USER_AGENT": "curl",
        "HTTP_REFERER": referer,
    }
    response = SimpleNamespace(status=status, sent=12, headers=[])
    made.access(response, SimpleNamespace(headers=[]), environ, timedelta(milliseconds=5))


def test_as_json_a_request_is_a_line_with_its_facts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    request(logger(monkeypatch, "json"), "/admin/?token=abc&page=2", "302 Found")
    found = json.loads(capsys.readouterr().out)
    assert found["message"] == "GET /admin/?token=********&page=2 HTTP/1.1"
    facts = {"service": "web", "logger": "gunicorn.access", "method": "GET", "path": "/admin/", "status": 302}
    assert facts.items() <= found.items()
    assert (found["duration_seconds"], found["bytes"], found["client"]) == (0.005, 12, "10.0.0.7")


def test_so_are_the_servers_own_messages(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logger(monkeypatch, "json").info("Listening at: %s\n", "http://127.0.0.1:8000")
    found = json.loads(capsys.readouterr().err)
    assert (found["logger"], found["message"]) == ("gunicorn.error", "Listening at: http://127.0.0.1:8000\n")


def test_as_text_both_are_single_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = logger(monkeypatch, "text")
    made.warning("late\n[forged]")
    request(made, "/admin/?password=abc")
    out, err = capsys.readouterr()
    assert err.endswith(" WARNING gunicorn.error: late\\n[forged]\n")
    assert '"GET /admin/?password=******** HTTP/1.1" 200 12' in out


@pytest.mark.parametrize("log_format", ["json", "text"])
@pytest.mark.parametrize("url", ["/livez", "/healthz", "/readyz", "/metrics"])
def test_a_probe_is_logged_only_if_it_fails(
    url: str, log_format: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = logger(monkeypatch, log_format)
    request(made, url)
    assert capsys.readouterr().out == ""
    request(made, url, "503 Service Unavailable")
    assert url in capsys.readouterr().out


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_secret_that_is_a_part_of_an_address_is_masked(
    log_format: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = logger(monkeypatch, log_format)
    request(made, "/feeds/q1w2e3.ics", referer="http://jobs.example.com/feeds/q1w2e3.ics")
    written = capsys.readouterr().out
    assert "q1w2e3" not in written
    assert "/feeds/********" in written


@pytest.mark.parametrize("log_format", ["json", "text"])
@pytest.mark.parametrize("path", ["/api/v1/start/jl_s3cret", "/api/v1/start/an-other?x=1"])
def test_the_token_that_starts_a_job_is_masked(
    path: str, log_format: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    request(logger(monkeypatch, log_format), path, referer=f"http://jobs.example.com{path}")
    written = capsys.readouterr().out
    assert path[14:22] not in written
    assert "/api/v1/start/********" in written


@pytest.mark.parametrize("log_format", ["json", "text"])
@pytest.mark.parametrize("url", ["/api/v1/runs/{}", "/api/v1/runs?q={}", "/admin/{}/"])
def test_a_token_of_the_api_is_masked_wherever_it_is(
    url: str, log_format: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    token = f"jl_0123456789ab_{'s3cret-_' * 6}"[:59]
    request(logger(monkeypatch, log_format), url.format(token), referer=f"http://{url.format(token)}")
    written = capsys.readouterr().out
    assert "s3cret" not in written
    assert url.format("********") in written


def test_setting_it_up_again_as_at_a_reload_logs_nothing_twice(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = logger(monkeypatch, "json")
    made.setup(made.cfg)
    made.info("once")
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_handlers_of_others_keep_their_formatters(monkeypatch: pytest.MonkeyPatch) -> None:
    own = logging.Formatter("%(message)s")
    handler = logging.NullHandler()
    handler.setFormatter(own)
    logging.getLogger("gunicorn.error").addHandler(handler)
    logger(monkeypatch, "json")
    assert handler.formatter is own


def test_a_configuration_of_logs_is_kept_whole(tmp_path: Path) -> None:
    """In a process of its own: it replaces all handlers."""
    config = tmp_path / "gunicorn.conf.py"
    config.write_text(f"""
logger_class = "proj.web_log.Logger"
console = {{"class": "logging.StreamHandler", "formatter": "short", "stream": "ext://sys.stdout"}}
logconfig_dict = {{
    "version": 1,
    "formatters": {{"short": {{"format": "own %(message)s"}}}},
    "handlers": {{"console": console}},
    "root": {{"handlers": ["console"]}},
    "loggers": {{"gunicorn.error": {{"handlers": ["console"], "level": "INFO", "propagate": False}}}},
}}
bind = "unix:{tmp_path}/socket"


def when_ready(server):
    server.log.info("that is all")
    raise SystemExit(0)
""")
    command = [sys.executable, "-m", "gunicorn", "--config", str(config), "proj.wsgi"]
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "LOG_FORMAT": "json"},
    )
    assert "own that is all" in done.stdout.splitlines(), done.stderr
