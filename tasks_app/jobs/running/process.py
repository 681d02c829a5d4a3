"""This process, as the ledger names it: who started it."""

import getpass
import os


def operating_system_user() -> str:
    """The name of the user it runs as."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a user id that has no name
        return f"uid {os.getuid()}"
