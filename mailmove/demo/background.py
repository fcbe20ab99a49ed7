"""A server on a loopback port, in a thread with an event loop of its own: what the demo's two servers have in common.

Strategy: `start` hands back only when the port is open, or raises what went wrong; `stop` wakes the loop, drops every
connection and waits for the thread, and may be called twice. A client that vanishes is no event at all. Anything else
that goes wrong is kept in `failures` and never printed: the terminal belongs to the demo, and a test can look.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeAlias

HOST = "127.0.0.1"
READ_LIMIT = 64 * 1024
"""Octets a connection may have unread before its client has to wait."""
PATIENCE = 10.0
"""Seconds until a thread that does not end is given up; it is a daemon, so it cannot keep the process alive."""

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter
Handler = Callable[[Reader, Writer], Awaitable[None]]


class LoopbackServer:
    """`with Subclass(...) as server: server.port`. A subclass says in `prepare` who talks to a client.

    `sessions`: how many connections have come so far.
    """

    def __init__(self) -> None:
        self.port = 0
        self.sessions = 0
        self.failures: list[BaseException] = []
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Event | None = None
        self._handlers: set[asyncio.Task[None] | None] = set()  # asyncio itself holds tasks by weak references only

    async def prepare(self) -> Handler:
        """Called once, in the server's own loop, before the port is open."""
        raise NotImplementedError

    # ---- the life of the server, as the caller sees it

    def start(self) -> None:
        """Opens the port and returns. Raises what `prepare` raises, and OSError where there is no port to have."""
        opened: Future[int] = Future()
        self._thread = threading.Thread(target=self._run, args=(opened,), name=type(self).__name__, daemon=True)
        self._thread.start()
        self.port = opened.result()

    def stop(self) -> None:
        """Drops every connection and ends; nothing of the server is left but what it remembers."""
        if self._loop and self._ending:
            with contextlib.suppress(RuntimeError):  # the loop has ended already
                self._loop.call_soon_threadsafe(self._ending.set)
        if self._thread:
            self._thread.join(PATIENCE)

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    # ---- the same, in the thread

    def _run(self, opened: Future[int]) -> None:
        """The thread. The Runner cancels every handler at the end; what went wrong before the port was open belongs to
        the caller of `start`."""
        try:
            with asyncio.Runner() as runner:
                runner.run(self._live(opened))
        except BaseException as error:  # noqa: BLE001  a thread has nobody else to tell
            if opened.done():
                self.failures.append(error)
            else:
                opened.set_exception(error)

    async def _live(self, opened: Future[int]) -> None:
        self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_exception_handler(self._keep)
        self._handler = await self.prepare()
        server = await asyncio.start_server(self._connected, HOST, 0, limit=READ_LIMIT)
        opened.set_result(server.sockets[0].getsockname()[1])
        try:
            await self._ending.wait()
        finally:
            server.close()

    async def _connected(self, reader: Reader, writer: Writer) -> None:
        self.sessions += 1
        self._handlers.add(task := asyncio.current_task())
        try:
            await self._handler(reader, writer)
            writer.close()
            await writer.wait_closed()
        except (OSError, EOFError):
            pass  # the client has gone
        except Exception as error:  # noqa: BLE001  one client's trouble must not reach the others
            self.failures.append(error)
        finally:
            self._handlers.discard(task)
            writer.transport.abort()  # or it would be flushed first, to a client that may read nothing

    def _keep(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What asyncio would print. A client that went and a task that was cancelled at the end are no failures."""
        error = context.get("exception")
        if not isinstance(error, OSError | asyncio.CancelledError):
            self.failures.append(error or RuntimeError(str(context.get("message"))))
