"""All processes of a clone find the same socket, however long the clone's path is."""

import os
from pathlib import Path

from proj.state import MAX_SOCKET_PATH_LENGTH, redis_socket


def test_the_socket_is_in_the_state_directory() -> None:
    assert redis_socket(Path("/srv/jobs/var")) == Path("/srv/jobs/var/redis.sock")


def test_if_the_path_is_too_long_it_is_in_a_short_directory_of_this_user() -> None:
    socket = redis_socket(Path("/srv") / ("long" * 40) / "var")
    assert len(os.fsencode(socket)) <= MAX_SOCKET_PATH_LENGTH
    assert f"-{os.getuid()}-" in socket.parent.name


def test_different_long_paths_have_different_sockets_that_never_change() -> None:
    one, other = (Path("/srv") / ("long" * 40) / name / "var" for name in ("one", "other"))
    assert redis_socket(one) == redis_socket(one) != redis_socket(other)


def test_the_length_is_counted_in_bytes() -> None:
    assert redis_socket(Path("/srv") / ("ü" * 45)).parent.parent == Path("/tmp")
