"""Which messages a worker returns to their queue, because it does not know their tasks.

Another worker may know the task: that of a project that uses the same queue, or one with newer code. So a
message is returned a few times, one second apart, before it becomes a dead letter. This is only bookkeeping,
in memory: after a restart, a message is returned as often again.
"""

from collections import OrderedDict

MAX_RETURNS = 5
DELAY_SECONDS = 1.0
"""How long a message is held before it is returned, so that it does not circulate at full speed."""
MAX_HELD = 100
"""How many messages are held at a time. Each is one that the worker may receive in addition to others."""
MAX_COUNTED = 1000


class Returns:
    """Counts how often each message was returned, and how many are held."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, int] = OrderedDict()
        self._held = 0

    def hold(self, task_id: str) -> bool:
        """Whether this message is to be held and returned once more."""
        count = self._counts.pop(task_id, 0)
        if count >= MAX_RETURNS or self._held >= MAX_HELD:
            return False
        self._held += 1
        self._counts[task_id] = count + 1
        if len(self._counts) > MAX_COUNTED:
            self._counts.popitem(last=False)
        return True

    def is_first(self, task_id: str) -> bool:
        """Whether the message that is held is returned for the first time."""
        return self._counts.get(task_id) == 1

    def release(self) -> None:
        """One that was held was returned."""
        self._held -= 1

    def release_all(self) -> None:
        """The connection was lost, and with it all that were held: the broker delivers them again, later."""
        self._held = 0
