"""A line between two programs on one machine: a distance, a bottleneck, a fault.

    with Line(server.ports["pop3"], rtt=0.1, rate=1_000_000, cut_after=50_000, cut_times=1) as line:
        ... connect to line.port ...

Strategy: every chunk gets a deadline when it is read and is passed on when that comes, so chunks overlap and pipelining
works as on a long line. The line is a process of its own (this file, run as a program), so that it takes no time from
the caller's. `cut_after` counts the octets from server to client of each connection (`cut_up`: the other way) and is
exact: that many arrive, not one more. For recorded commands or a call at an octet, see proxy.py.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import select
import socket
import struct
import subprocess
import sys
import time
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
CHUNK, WINDOW = 1 << 18, 64 << 20  # WINDOW guards memory: most octets under way in one direction
TICK = 0.0003  # passes are at least this far apart: small chunks gather, and CPU is saved
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends RST


class Line:
    """The line as seen by a test. `rtt` in seconds, `rate` in octets/s each way (0: no limit)."""

    def __init__(
        self,
        to: int,
        *,
        rtt: float = 0.0,
        rate: float = 0.0,
        cut_after: int | None = None,
        cut_times: int = 1,
        cut_how: str = "rst",
        cut_up: bool = False,
    ) -> None:
        self._options = ["--to", str(to), "--rtt", str(rtt), "--rate", str(rate)]
        if cut_after is not None:
            self._options += ["--cut-after", str(cut_after), "--cut-times", str(cut_times), "--cut-how", cut_how]
            self._options += ["--cut-up"] * cut_up
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    def __enter__(self) -> Self:
        command = [sys.executable, "-I", __file__, *self._options]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        if not said:
            self.__exit__(None, None, None)
            raise RuntimeError("the delay line did not start; see its traceback above")
        self.port = int(said)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.communicate(timeout=10)


# ---- The process


class Cut(Exception):
    """The chosen octet went over the line."""


class Pipe:
    """One direction of one connection."""

    def __init__(self, src: socket.socket, dst: socket.socket, options: argparse.Namespace, cut: int | None) -> None:
        self.src, self.dst, self.cut = src, dst, cut
        self.rate: float = options.rate
        self.delay: float = max(0.0, options.rtt / 2 - 1.5 * TICK)  # less what gathering adds on average
        self.queue: collections.deque[tuple[float, memoryview]] = collections.deque()
        self.queued = self.passed = 0
        self.free_at = 0.0
        self.eof = self.ended = False

    def wants(self) -> bool:
        most = max(65536, self.rate * (self.delay + 0.2)) if self.rate else WINDOW
        return not self.eof and self.queued < most

    def read(self, now: float) -> None:
        want = min(CHUNK, max(1460, int(self.rate / 50))) if self.rate else CHUNK
        try:
            data = self.src.recv(want)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:  # an acknowledgement at once, else a sender with Nagle's algorithm waits 40 ms here
            self.src.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        self.eof = not data
        self.queued += len(data)
        self.queue.append((self._due(now, len(data)), memoryview(data)))

    def _due(self, now: float, octets: int) -> float:
        if not (self.rate and octets):
            return now + self.delay
        self.free_at = max(now, self.free_at) + octets / self.rate
        return self.free_at + self.delay

    def write(self, now: float) -> None:
        """Passes on what is due, as far as dst can take it."""
        while self.queue and self.queue[0][0] <= now:
            due, data = self.queue.popleft()
            if not data:
                self._end()
                return
            sent = self._send(data)
            if sent < len(data):
                self.queue.appendleft((due, data[sent:]))
            if self.cut is not None and self.passed >= self.cut:
                raise Cut
            if not sent:
                return

    def _send(self, data: memoryview) -> int:
        part = data if self.cut is None else data[: self.cut - self.passed]
        try:
            sent = self.dst.send(part)
        except BlockingIOError:
            return 0
        self.passed += sent
        self.queued -= sent
        return sent

    def _end(self) -> None:
        self.ended = True
        with contextlib.suppress(OSError):
            self.dst.shutdown(socket.SHUT_WR)


class Switch:
    """All connections of one line, on one select loop."""

    def __init__(self, listen: socket.socket, options: argparse.Namespace) -> None:
        self.listen, self.options, self.cuts = listen, options, options.cut_times
        self.opening: list[tuple[float, socket.socket]] = []
        self.pairs: list[tuple[Pipe, Pipe]] = []
        self.kept: list[tuple[Pipe, Pipe]] = []
        self.last = 0.0
        listen.setblocking(False)

    def run(self) -> None:
        while True:
            ready = self._wait()
            now = self.last = time.monotonic()
            if self.listen in ready:  # SYN, SYN-ACK, ACK: the server sees a connection 1.5 round trips later
                self.opening.append((now + 1.5 * self.options.rtt, self.listen.accept()[0]))
            for item in [item for item in self.opening if item[0] <= now]:
                self.opening.remove(item)
                self._open(item[1])
            for pair in list(self.pairs):
                self._serve(pair, ready, now)

    def _wait(self) -> set[socket.socket]:
        now = time.monotonic()
        pipes = [pipe for pair in self.pairs for pipe in pair]
        reads = [self.listen] + [pipe.src for pipe in pipes if pipe.wants()]
        writes = [pipe.dst for pipe in pipes if pipe.queue and pipe.queue[0][0] <= now]
        dues = [due for due, _ in self.opening] + [p.queue[0][0] for p in pipes if p.queue and p.queue[0][0] > now]
        readable, _, _ = select.select(reads, writes, [], max(0.0, min(dues) - now) if dues else None)
        if self.options.rtt and (pause := self.last + TICK - time.monotonic()) > 0:
            time.sleep(pause)
        return set(readable)

    def _open(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection((HOST, self.options.to))
        except OSError:
            client.close()
            return
        for end in client, server:
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        cut = self.options.cut_after if self.cuts > 0 else None
        self.cuts -= 1
        up = Pipe(client, server, self.options, cut if self.options.cut_up else None)
        down = Pipe(server, client, self.options, None if self.options.cut_up else cut)
        self.pairs.append((up, down))

    def _serve(self, pair: tuple[Pipe, Pipe], ready: set[socket.socket], now: float) -> None:
        try:
            for pipe in pair:
                if pipe.src in ready:
                    pipe.read(now)
                pipe.write(now)
            if all(pipe.ended for pipe in pair):
                self._close(pair, reset=False)
        except Cut:
            self._cut(pair)
        except OSError:
            self._close(pair, reset=True)

    def _cut(self, pair: tuple[Pipe, Pipe]) -> None:
        """A pair is kept, not closed, for silence, and for a FIN too: closing with octets unread would send RST."""
        if self.options.cut_how == "rst":
            return self._close(pair, reset=True)
        self.pairs.remove(pair)
        self.kept.append(pair)
        for pipe in pair if self.options.cut_how == "fin" else ():
            with contextlib.suppress(OSError):
                pipe.dst.shutdown(socket.SHUT_WR)
        return None

    def _close(self, pair: tuple[Pipe, Pipe], *, reset: bool) -> None:
        for end in pair[0].src, pair[0].dst:
            if reset:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            end.close()
        self.pairs.remove(pair)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--to", type=int, required=True, help="port of the real server on 127.0.0.1")
    options.add_argument("--listen", type=int, default=0)
    options.add_argument("--rtt", type=float, default=0, help="seconds")
    options.add_argument("--rate", type=float, default=0, help="octets/s in each direction")
    options.add_argument("--cut-after", type=int)
    options.add_argument("--cut-times", type=int, default=1, help="only the first K connections are cut")
    options.add_argument("--cut-how", choices=("rst", "fin", "stall"), default="rst")
    options.add_argument("--cut-up", action="store_true")
    given = options.parse_args()
    listen = socket.create_server((HOST, given.listen), backlog=128)
    print(listen.getsockname()[1], flush=True)
    Switch(listen, given).run()


if __name__ == "__main__":
    main()
