"""A TLS server in front of a server on a Unix socket, with a certificate of a CA made for the test.

The embedded Redis server is built without TLS.
"""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import trustme


class CA(trustme.CA):
    """A certificate authority."""

    @property
    def pem(self) -> str:
        """Its certificate."""
        return self.cert_pem.bytes().decode()


@contextmanager
def tls_in_front_of(socket: Path, *, ca: CA, name: str = "localhost") -> Iterator[int]:
    """Serve on a port of the loopback, with a certificate for this name; yields the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(name).configure_cert(context)
    loop, port = asyncio.new_event_loop(), asyncio.Queue[int]()
    stop = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=[_serve(socket, context, port, stop)])
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(port.get(), loop).result()
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


async def _serve(
    socket: Path, context: ssl.SSLContext, port: asyncio.Queue[int], stop: asyncio.Event
) -> None:
    forwarding: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        forwarding.add(asyncio.ensure_future(_forward(socket, reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    port.put_nowait(server.sockets[0].getsockname()[1])
    await stop.wait()
    server.close()
    for task in forwarding:
        task.cancel()
    await asyncio.gather(*forwarding, return_exceptions=True)


async def _forward(socket: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until either side closes its connection."""
    with suppress(OSError):
        redis_reader, redis_writer = await asyncio.open_unix_connection(str(socket))
        copying = {
            asyncio.create_task(_copy(reader, redis_writer)),
            asyncio.create_task(_copy(redis_reader, writer)),
        }
        try:
            await asyncio.wait(copying, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in copying:
                task.cancel()
            await asyncio.gather(*copying, return_exceptions=True)
            redis_writer.transport.abort()
    writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
