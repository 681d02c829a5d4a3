"""kombu's transports for workers, in which malformed messages become dead letters.

kombu documents how to write a transport, but offers no hook to validate a message before its channel parses
it. The channel parses a message's envelope before it records the message as delivered, and any error crashes
the process, which holds the only copy. A hook like the consumer's ``on_decode_error`` is missing there. So
this module, and no other, uses the private parts with which the channel receives messages; publishing,
acknowledging and everything else are left to kombu.

That is so for Redis. RabbitMQ itself keeps account of what it delivers, and kombu reports errors of decoding;
only messages that are too large, or compressed, have to be stopped before it decompresses them.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache, cached_property, partial
from queue import Empty
from typing import Any

from celery import current_app
from kombu.exceptions import ChannelError, ConnectionError  # noqa: A004 - RabbitMQ's
from kombu.transport import pyamqp, redis, virtual
from redis.exceptions import RedisError

from jobledger.conf import settings
from jobledger.escapes import line_logger
from jobledger.runs.worker.messages import dead_letters, envelope
from jobledger.runs.worker.messages.transaction import Transaction

logger = line_logger(__name__)

LOST_CONNECTION = (OSError, RedisError, ConnectionError, ChannelError)
"""kombu's own list of connection errors includes KeyError, which a message can cause."""


class _QoS(redis.QoS):
    """Keeps track of messages that have been delivered but not acknowledged."""

    @contextmanager
    def pipe_or_acquire(self, pipe: Any = None, client: Any = None) -> Iterator[Any]:
        """A pipeline, or what is as good for the deliveries that this keeps track of."""
        channel: Any = self.channel
        with channel.conn_or_acquire(client) as found:
            yield pipe or Transaction(found, prefix=channel.global_keyprefix)

    def ack(self, delivery_tag: Any) -> None:
        """Acknowledge a message; if the connection is lost, the slot is free again nevertheless.

        kombu would count the message forever. A worker without a free slot does not poll the connection, so
        it would never notice the loss. The message is delivered again and dropped, because its run is over.
        """
        try:
            super().ack(delivery_tag)
        except LOST_CONNECTION:
            virtual.QoS.ack(self, delivery_tag)
            raise

    def has_room(self, *, beside: int) -> bool:
        """Whether one more may be received, beside as many that are no longer to be counted."""
        # kombu's public methods make no difference between a full worker and one that has even more.
        unacknowledged = len(self._delivered or ()) - len(self._dirty or ())
        return not self.prefetch_count or unacknowledged - beside < self.prefetch_count

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's
        """Restore a message to its queue; a malformed record would prevent later ones from being restored."""
        try:
            super().restore_by_tag(tag, client, leftmost)
        except LOST_CONNECTION:
            raise
        except Exception as error:  # noqa: BLE001 - no record may hold up the others
            channel: Any = self.channel
            with channel.conn_or_acquire(client) as found:
                item = found.hget(self.unacked_key, tag) or b""
            reason = f"the record of its delivery cannot be parsed ({type(error).__name__})"
            dead_letters.keep(channel, dead_letters.unreadable(item, reason))
            self.ack(tag)


class _Channel(redis.Channel):
    """Only delivers readable messages."""

    QoS = _QoS
    _kept: Any = None

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """A client, the same one each time: kombu would make several for each message."""
        channel: Any = self
        if client is None and (self._kept is None or self._kept.connection_pool is not channel.pool):
            self._kept = channel._create_client()  # noqa: SLF001 - its own
        yield client or self._kept

    def _connparams(self, asynchronous: bool = False) -> Any:  # noqa: FBT001, FBT002 - kombu's
        """The parameters of a connection; one that the event loop polls stops being polled when it closes."""
        parameters = super()._connparams(asynchronous)  # type: ignore[misc]  # not in the stubs
        if asynchronous:
            parameters["connection_class"] = _polled(parameters["connection_class"], self)
        return parameters

    @cached_property
    def client(self) -> Any:
        """kombu's client for receiving, whose responses are validated."""
        client = super().client
        client.parse_response = partial(self.validated, client.parse_response)
        return client

    def validated(self, parse_response: Any, connection: Any, command_name: str, **options: Any) -> Any:
        """Redis' response; if it is a malformed message, the response for an empty queue instead."""
        response = parse_response(connection, command_name, **options)
        if command_name != "BRPOP" or not response:
            return response
        key, item = response
        try:
            _check(item, limit_bytes=settings.MESSAGE_LIMIT_BYTES)
        except envelope.MalformedError as error:
            queue = key.decode(errors="replace").partition(self.sep)[0]
            dead_letters.keep(self, dead_letters.unreadable(item, str(error), queue=queue))
            return None
        return response

    def _do_restore_message(
        self,
        payload: Any,
        exchange: Any,
        routing_key: Any,
        pipe: Any,
        leftmost: bool = False,  # noqa: FBT001, FBT002 - kombu's
    ) -> None:
        """Put a message back into its queue.

        kombu would log a malformed one with all its contents, and drop it. Its size was validated when it was
        delivered; here it is encoded differently.
        """
        if not (isinstance(exchange, str) and isinstance(routing_key, str)):
            raise envelope.MalformedError("its exchange or routing key is not a string")
        _check(json.dumps(payload).encode(), limit_bytes=sys.maxsize)
        super()._do_restore_message(payload, exchange, routing_key, pipe, leftmost)  # type: ignore[misc]  # not in the stubs

    def _receive_one(self, c: Any) -> Any:
        """Receive a broadcast, such as a remote control command, which is sent to all and concerns no run."""
        try:
            return super()._receive_one(c)  # type: ignore[misc]  # not in the stubs
        except (*LOST_CONNECTION, Empty):
            raise
        except Exception as error:  # noqa: BLE001 - no broadcast may crash the worker
            logger.warning("Dropped a malformed broadcast (%s)", type(error).__name__)
            return None


class _RabbitMQChannel(pyamqp.Channel):
    """Decompresses no message whose size is not known."""

    def message_to_python(self, raw_message: Any) -> Any:
        """kombu's message; one that must not be decompressed has an error, and is as it came."""
        headers = raw_message.properties.get("application_headers") or {}
        try:
            envelope.check_size(len(raw_message.body), limit_bytes=settings.MESSAGE_LIMIT_BYTES)
            if "compression" in headers:
                envelope.check_compression(may_be_compressed=_may_be_compressed())
        except envelope.MalformedError:
            headers.pop("compression", None)
            message = super().message_to_python(raw_message)
            message.errors = [sys.exc_info()]
            return message
        return super().message_to_python(raw_message)


def counts_messages(qos: Any) -> bool:
    """Whether this is what counts the messages of one of these channels: Redis's."""
    return isinstance(qos, _QoS)


def _polled(connection_class: Any, channel: Any) -> Any:
    """The same class of connections, which leave the event loop before their socket is closed.

    A child that was forked meanwhile has the socket, too. So closing it here does not end its registration
    with epoll, on which kombu relies. The loop could not end it later either, and would never wait again.
    """

    class Connection(connection_class):  # type: ignore[misc]
        def disconnect(self, *args: Any, **kwargs: Any) -> None:
            # The child's copy of the connection shares the parent's epoll.
            if self._sock is not None and self.pid == os.getpid():
                poller = channel.connection.cycle.poller if channel.connection else None
                if poller is not None:
                    # EBADF: it is closed already.
                    with suppress(OSError):
                        poller.unregister(self._sock)
            super().disconnect(*args, **kwargs)

    return Connection


def _check(item: bytes, *, limit_bytes: int) -> None:
    envelope.check_envelope(item, limit_bytes=limit_bytes, may_be_compressed=_may_be_compressed)


def _may_be_compressed() -> bool:
    return current_app.conf.task_compression is not None


@cache
def guarded(transport: Any) -> Any:
    """kombu's transport for Redis or RabbitMQ with one of these channels; others are returned unchanged."""
    if issubclass(transport, pyamqp.Transport):
        connection = type("Connection", (transport.Connection,), {"Channel": _RabbitMQChannel})
        return type(transport.__name__, (transport,), {"Connection": connection})
    channel = getattr(transport, "Channel", None)
    if channel is None or not issubclass(channel, redis.Channel):
        return transport
    guarded_channel = type(channel.__name__, (_Channel, channel), {})
    return type(transport.__name__, (transport,), {"Channel": guarded_channel})
