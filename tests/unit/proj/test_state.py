"""Every process of one clone finds the same socket, whatever the length of the clone's path."""

import os
from pathlib import Path

from proj.state import LONGEST_SOCKET_PATH, redis_socket


def test_the_socket_lies_in_the_state_folder() -> None:
    assert redis_socket(Path("/srv/jobs/var")) == Path("/srv/jobs/var/redis.sock")


def test_under_a_long_path_it_lies_in_a_short_folder_of_this_user() -> None:
    socket = redis_socket(Path("/srv") / ("long" * 40) / "var")
    assert len(os.fsencode(socket)) <= LONGEST_SOCKET_PATH
    assert f"-{os.getuid()}-" in socket.parent.name


def test_two_long_paths_have_two_sockets_and_one_path_always_the_same() -> None:
    one, other = (Path("/srv") / ("long" * 40) / name / "var" for name in ("one", "other"))
    assert redis_socket(one) == redis_socket(one) != redis_socket(other)


def test_the_length_is_counted_in_bytes() -> None:
    assert redis_socket(Path("/srv") / ("ü" * 45)).parent.parent == Path("/tmp")
