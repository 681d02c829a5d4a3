"""A transaction of Redis by which a worker notes that a message was delivered, or that it is acknowledged.

Each message takes two. With redis-py's pipeline, they were a quarter of what a worker's main process does for
it; this takes less than half as long.
"""

from collections.abc import Mapping
from typing import Any, Self

from redis.exceptions import RedisError


class Transaction:
    """As much of a pipeline as kombu uses for that.

    What does not succeed at once is executed by a pipeline, which tries again with another connection, and
    raises what kombu expects. So all commands must be such that repeating them changes nothing.
    """

    def __init__(self, client: Any, *, prefix: str) -> None:
        """``prefix`` is what the client prepends to each key."""
        self._client = client
        self._prefix = prefix
        self._commands: list[tuple[Any, ...]] = []

    def zadd(self, key: str, scores: Mapping[str, float]) -> Self:
        pairs = (each for member, score in scores.items() for each in (score, member))
        return self._with("ZADD", key, *pairs)

    def hset(self, key: str, field: str, value: str | bytes) -> Self:
        return self._with("HSET", key, field, value)

    def zrem(self, key: str, member: str) -> Self:
        return self._with("ZREM", key, member)

    def hdel(self, key: str, field: str) -> Self:
        return self._with("HDEL", key, field)

    def execute(self) -> None:
        """Raises what a pipeline raises."""
        try:
            executed = self._execute_at_once()
        except (RedisError, OSError):
            executed = False
        if not executed:
            pipeline = self._client.pipeline()
            for command in self._commands:
                pipeline.execute_command(*command)
            pipeline.execute()

    def _execute_at_once(self) -> bool:
        """Returns False if a command has failed; raises RedisError or OSError if it is not known."""
        prefixed = [(name, f"{self._prefix}{key}", *rest) for name, key, *rest in self._commands]
        pool = self._client.connection_pool
        connection = pool.get_connection()
        try:
            connection.send_packed_command(connection.pack_commands([("MULTI",), *prefixed, ("EXEC",)]))
            for _ in "MULTI", *prefixed:
                connection.read_response()
            results = connection.read_response()
        except BaseException:
            # What follows is not to be taken for the response to another command.
            connection.disconnect()
            raise
        finally:
            pool.release(connection)
        return not any(isinstance(result, Exception) for result in results)

    def _with(self, *command: Any) -> Self:
        self._commands.append(command)
        return self
