"""A wire that tells what it says and hears, without the secrets, for a log that a person may show around.

Strategy: the Wire is listened to from outside, so that it costs nothing where nobody listens. Lines are told as they
crossed the wire (a server's up to imap_wire.SHOWN characters); of a literal, which is a message or a part of one, only
how long it is; of a login nothing but that it took place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mailmove.model import Transcript
from mailmove.net import Stream
from mailmove.targets.imap_append import AppendWire, Part
from mailmove.targets.imap_refusals import LOGINS
from mailmove.tls import TlsPolicy

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_LOGIN = re.compile(r"(\S+ (?:LOGIN|AUTHENTICATE \S+))( .*)?$")
"""A command that logs in: what may be told of it, and what may not."""


class TranscribedWire(AppendWire):
    """An AppendWire whose lines go to `transcript`, too."""

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

    def begin_append(self, mailbox: bytes, parts: Iterable[Part]) -> bytes:
        prefix: Any = self.tagpre
        tag = f"{prefix.decode('ascii')}{self.tagnum}"
        return super().begin_append(mailbox, self._told(f"{tag} APPEND {mailbox.decode('utf-8', 'replace')} ", parts))

    def _told(self, before: str, parts: Iterable[Part]) -> Iterator[Part]:
        for part in parts:
            mark = "" if part.sync else "+"
            self._transcript("C", f"{before}{part.head.decode('ascii', 'replace')} {{{part.octets}{mark}}}")
            yield replace(part, chunks=self._counted(part.chunks))
            before = ""

    def _counted(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        octets = 0
        try:
            for chunk in chunks:
                octets += len(chunk)
                yield chunk
        finally:
            self._transcript("C", f"[{octets} octets of message]")

    def _shown(self, line: bytes) -> str:
        text = line.decode("utf-8", "replace")
        if self.doing not in LOGINS:
            return text
        prefix: Any = self.tagpre
        command = _LOGIN.match(text) if line.startswith(prefix) else None
        if command:
            return command[1] + " ***" * bool(command[2])
        return text if text == "*" else "***"
