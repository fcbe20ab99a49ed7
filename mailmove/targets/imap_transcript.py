"""A wire that tells what it says and hears, without the secrets, for a log that a person may show around.

Strategy: the Wire is listened to from outside, so that it costs nothing where nobody listens. Lines are told as they
crossed the wire (a server's up to imap_wire.SHOWN characters); of a literal, which is a message or a part of one, only
how long it is; of a login nothing but that it took place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from mailmove.model import Transcript
from mailmove.net import Stream
from mailmove.targets.imap_wire import Wire
from mailmove.tls import TlsPolicy

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class TranscribedWire(Wire):
    """A Wire whose lines go to `transcript`, too."""

    def __init__(self, stream: Stream, transcript: Transcript) -> None:
        self._transcript = transcript
        if stream.encrypted:
            transcript("-", stream.protection)
        super().__init__(stream)

    def send(self, data: ReadableBuffer) -> None:
        super().send(data)
        for line in filter(None, bytes(data).splitlines()):
            self._transcript("C", self._shown(line))

    def readline(self) -> bytes:
        line = super().readline()
        challenge = self.doing == "AUTHENTICATE" and line.startswith(b"+") and line.strip() != b"+"
        self._transcript("S", "+ ***" if challenge else self.words(line.rstrip(b"\r\n")))
        return line

    def read(self, size: int) -> bytes:
        data = super().read(size)
        self._transcript("S", f"[{size} octets of message]")
        return data

    def start_tls(self, policy: TlsPolicy, host: str) -> None:
        super().start_tls(policy, host)
        self._transcript("-", self.stream.protection)

    def append_message(self, head: Sequence[bytes], octets: int, chunks: Iterable[bytes]) -> str:
        return super().append_message(head, octets, self._counted(chunks))

    def _counted(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        octets = 0
        try:
            for chunk in chunks:
                octets += len(chunk)
                yield chunk
        finally:
            self._transcript("C", f"[{octets} octets of message]")

    def _shown(self, line: bytes) -> str:
        tag, _, command = line.decode("utf-8", "replace").partition(" ")
        if self.doing == "LOGIN":
            return f"{tag} LOGIN ***"
        if self.doing == "AUTHENTICATE" and not command.startswith("AUTHENTICATE "):
            return "*" if tag == "*" else "***"
        return f"{tag} {command}"
