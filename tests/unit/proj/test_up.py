"""``make up`` refuses to start what could not run, and says why."""

import socket
from pathlib import Path

import environ
import pytest

from proj import up


def test_a_taken_port_is_a_message_that_says_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit, match=rf"Port {port} cannot be used .*make up PORT=8001"):
            up.refuse_taken_port(port)


def test_a_port_that_is_none_is_refused_too() -> None:
    with pytest.raises(SystemExit, match="Port 70000 cannot be used"):
        up.refuse_taken_port(70000)


def test_one_clone_runs_one_service_at_a_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(up, "STATE_DIR", tmp_path)
    with up.lock(), pytest.raises(SystemExit, match="already running"):
        up.lock()


def test_the_embedded_server_is_left_out_when_there_is_another_redis() -> None:
    names = [set(up.supervise({}, embedded_redis=embedded)._processes) for embedded in (True, False)]
    assert names == [{"redis", "web", "worker", "beat"}, {"web", "worker", "beat"}]


@pytest.mark.parametrize("text", ["abc", "", "0", "70000", "-1"])
def test_a_port_that_is_no_number_is_a_message(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("PORT", text)
    with pytest.raises(SystemExit, match="is no port"):
        up.chosen_port(environ.Env())
