"""Whether this process executes several runs at a time, each in a thread of its own (``--pool threads``).

There, nothing of the process belongs to a run. What other processes replace for a run and restore after it
(``sys.stdout``, signal handlers, the environment) is set up once for all runs, or left alone.
"""

_state = {"is_shared": False}


def begin() -> None:
    """From now on, runs are executed in threads. To be called by a worker before its first run."""
    _state["is_shared"] = True


def is_shared() -> bool:
    """Whether other runs may be executed beside the current one."""
    return _state["is_shared"]
