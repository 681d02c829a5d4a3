"""The state folder: where a service on embedded defaults keeps its files. Knows no Django.

``var/`` holds the database, the secrets and the Redis socket. Every process finds them from the
project's own path, so a second shell needs nothing exported.
"""

import hashlib
import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
STATE_DIR = BASE_DIR / "var"

# A Unix socket's path ends at 107 bytes on Linux and at 103 on macOS (sun_path in unix(7)).
LONGEST_SOCKET_PATH = 103


def redis_socket(state_dir: Path = STATE_DIR) -> Path:
    """The embedded Redis server's socket: in the state folder, or, when that path is too long, in /tmp.

    The short folder's name is made from the long path and the user, so that every process of one
    clone agrees on it whatever TMPDIR says.
    """
    socket = state_dir / "redis.sock"
    if len(os.fsencode(socket)) <= LONGEST_SOCKET_PATH:
        return socket
    digest = hashlib.sha256(os.fsencode(state_dir)).hexdigest()[:16]
    return Path("/tmp") / f"scheduled-jobs-{os.getuid()}-{digest}" / "redis.sock"  # noqa: S108 - made private by its server
