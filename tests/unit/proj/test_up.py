"""``make up`` does not start what could not run, and says why."""

import os
import socket
from pathlib import Path
from typing import Any

import environ
import pytest

from proj import up
from proj.supervisor import GRACE_SECONDS, Supervisor


def test_a_port_in_use_is_a_message_that_says_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit, match=rf"Port {port} is not available .*make up PORT=8001"):
            up.refuse_taken_port(port)


def test_a_port_out_of_range_is_rejected_too() -> None:
    with pytest.raises(SystemExit, match="Port 70000 is not available"):
        up.refuse_taken_port(70000)


def test_one_clone_runs_one_service_at_a_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(up, "STATE_DIR", tmp_path)
    with up.lock(), pytest.raises(SystemExit, match="already running"):
        up.lock()


@pytest.mark.parametrize("text", ["abc", "", "0", "70000", "-1"])
def test_an_invalid_port_is_a_message(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("PORT", text)
    with pytest.raises(SystemExit, match="is not a port"):
        up.chosen_port(environ.Env())


def test_the_address_is_told_once_the_admin_and_redis_can_be_reached(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ready = {"admin": [False, True, True, True], "redis": [False, False, True]}
    printed: list[str] = []

    def is_ready(name: str) -> bool:
        printed.append(capsys.readouterr().out)
        return ready[name].pop(0)

    monkeypatch.setattr(up, "accepts_connections", lambda port: is_ready("admin"))
    monkeypatch.setattr(up, "answers", lambda socket: is_ready("redis"))
    monkeypatch.setattr("proj.up.time.sleep", lambda seconds: None)
    up.announce(8000, tmp_path / "redis.sock")
    assert ready == {"admin": [], "redis": []}
    assert not any(printed)
    assert "http://127.0.0.1:8000/admin/" in capsys.readouterr().out


def test_another_redis_is_not_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        up.announce(port, None)
    assert f"http://127.0.0.1:{port}/admin/" in capsys.readouterr().out
    assert not up.accepts_connections(port)


@pytest.fixture
def supervised(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """How ``make up`` sets up its processes, in a separate directory; none is started."""
    given: dict[str, Any] = {}

    def supervise(environment: dict[str, str], *, embedded_redis: bool) -> Supervisor:
        given.update(environment=environment, embedded_redis=embedded_redis)
        nothing = Supervisor()
        monkeypatch.setattr(nothing, "loop", lambda: None)
        return nothing

    for name, value in (("supervise", supervise), ("prepare", int), ("announce", print)):
        monkeypatch.setattr(up, name, value)
    monkeypatch.setattr(up, "refuse_taken_port", print)
    monkeypatch.setattr(up, "remove_short_socket_folder", lambda: None)
    for name in "BASE_DIR", "STATE_DIR":
        monkeypatch.setattr(up, name, tmp_path)
    for name in "SHUTDOWN_GRACE_SECONDS", "REDIS_URL", "RABBITMQ_URL":
        monkeypatch.delenv(name, raising=False)
    return given


def test_runs_are_cancelled_before_the_worker_is_killed(supervised: dict[str, Any]) -> None:
    assert up.main() == 0
    assert 0 < float(supervised["environment"]["SHUTDOWN_GRACE_SECONDS"]) < GRACE_SECONDS


def test_another_grace_period_of_the_runs_is_used(
    supervised: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHUTDOWN_GRACE_SECONDS", "3")
    up.main()
    assert supervised["environment"]["SHUTDOWN_GRACE_SECONDS"] == "3"


@pytest.mark.parametrize(
    ("line", "embedded"),
    [
        ("", True),
        ("REDIS_URL=", True),
        ("REDIS_URL=redis://elsewhere", False),
        ("RABBITMQ_URL=amqp://elsewhere", False),
    ],
)
def test_a_redis_url_without_a_value_means_the_embedded_server(
    supervised: dict[str, Any], tmp_path: Path, line: str, embedded: bool
) -> None:
    (tmp_path / ".env").write_text(line)
    try:
        up.main()
    finally:
        # Reading the file puts it there.
        for name in "REDIS_URL", "RABBITMQ_URL":
            os.environ.pop(name, None)
    assert supervised["embedded_redis"] is embedded
