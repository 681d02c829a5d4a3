"""kombu's Redis transport for workers: what it cannot take in becomes a dead letter.

kombu documents how a transport is written, and no way to look at a message before its channel does: it reads
a message's envelope before it is on record as delivered, and whatever is wrong with it ends the process, with
the only copy. Missing there is a place like the consumer's ``on_decode_error``. So this module alone uses how
the channel receives; publishing, acknowledging and all else are kombu's.
"""

from functools import cache, cached_property, partial
from queue import Empty
from typing import Any

from celery import current_app
from kombu.transport import redis
from redis.exceptions import RedisError

from jobledger.escapes import line_logger
from jobledger.runs.worker import dead_letters, envelope

logger = line_logger(__name__)

LOST_CONNECTION = (OSError, RedisError)
"""kombu's own list of errors has KeyError as well, which a message can raise."""


class _QoS(redis.QoS):
    """The messages that are delivered, but not acknowledged."""

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's
        """Give a message back to its queue; a record that cannot be read would keep those after it there."""
        try:
            super().restore_by_tag(tag, client, leftmost)
        except LOST_CONNECTION:
            raise
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one holds up no other
            channel: Any = self.channel
            with channel.conn_or_acquire(client) as found:
                item = found.hget(self.unacked_key, tag) or b""
            reason = f"its record as delivered cannot be read ({type(error).__name__})"
            dead_letters.keep(channel, dead_letters.unreadable(item, reason))
            self.ack(tag)


class _Channel(redis.Channel):
    """Hands over only messages that can be read."""

    QoS = _QoS

    @cached_property
    def client(self) -> Any:
        """kombu's connection for receiving, whose answers are looked at."""
        client = super().client
        client.parse_response = partial(self.checked, client.parse_response)
        return client

    def checked(self, parse_response: Any, connection: Any, command_name: str, **options: Any) -> Any:
        """Redis' answer; instead of a message that cannot be read, the answer when there is none."""
        answer = parse_response(connection, command_name, **options)
        if command_name != "BRPOP" or not answer:
            return answer
        key, item = answer
        try:
            envelope.check_envelope(
                item,
                limit_bytes=dead_letters.message_limit_bytes(),
                may_be_compressed=current_app.conf.task_compression is not None,
            )
        except envelope.MalformedError as error:
            queue = key.decode(errors="replace").partition(self.sep)[0]
            dead_letters.keep(self, dead_letters.unreadable(item, str(error), queue=queue))
            return None
        return answer

    def _receive_one(self, c: Any) -> Any:
        """A broadcast, such as a command of remote control: it is sent to all, and concerns no run."""
        try:
            return super()._receive_one(c)  # type: ignore[misc]  # not in the stubs
        except (*LOST_CONNECTION, Empty):
            raise
        except Exception as error:  # noqa: BLE001 - whatever was sent must not end the worker
            logger.warning("A broadcast cannot be read and is dropped (%s)", type(error).__name__)
            return None


@cache
def guarded(transport: Any) -> Any:
    """The same transport with this channel, where it is kombu's for Redis; others as they are."""
    channel = getattr(transport, "Channel", None)
    if channel is None or not issubclass(channel, redis.Channel):
        return transport
    made = type(channel.__name__, (_Channel, channel), {})
    return type(transport.__name__, (transport,), {"Channel": made})
