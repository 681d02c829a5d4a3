"""The state directory, where a service with default settings stores its files. Does not depend on Django.

``var/`` contains the database, the secrets and the Redis socket. Processes find them relative to the
project's own path, so they work in any shell without environment variables.
"""

import hashlib
import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
STATE_DIR = BASE_DIR / "var"

# Redis may hold other applications' data as well: this service's keys and channels start with this.
# The ACL of Compose's Redis allows no others.
REDIS_KEY_PREFIX = "jobs:"

# The path of a Unix socket is limited to 107 bytes on Linux and 103 on macOS (sun_path in unix(7)).
MAX_SOCKET_PATH_LENGTH = 103


def redis_socket(state_dir: Path = STATE_DIR) -> Path:
    """The embedded Redis server's socket: in the state directory, or in /tmp if that path is too long.

    The name of the short directory is derived from the long path and the user, so that all processes of
    a clone agree on it, whatever TMPDIR is.
    """
    socket = state_dir / "redis.sock"
    if len(os.fsencode(socket)) <= MAX_SOCKET_PATH_LENGTH:
        return socket
    digest = hashlib.sha256(os.fsencode(state_dir)).hexdigest()[:16]
    return Path("/tmp") / f"scheduled-jobs-{os.getuid()}-{digest}" / "redis.sock"  # noqa: S108 - made private by its server
