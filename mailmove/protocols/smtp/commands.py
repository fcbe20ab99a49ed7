"""What we may say in a mail transaction (RFC 5321 section 3.3), and to which server.

Strategy: an address that could be taken for something else cannot get into a line, since it is looked at once, here;
so the code that writes lines need not look. What a server does not offer is never asked of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from mailmove.errors import LocalProtocolError, UsageError
from mailmove.model import Body
from mailmove.protocols.smtp.text import quoted

MAX_ADDRESS = 320
"""Octets: 64 for the local part, 255 for the domain, and "@" (RFC 5321 section 4.5.3.1). A server may cut longer lines
in two, and take the second half for a command."""

RSET = b"RSET\r\n"
DATA = b"DATA\r\n"
QUIT = b"QUIT\r\n"


@dataclass(frozen=True, slots=True)
class Offers:
    """What the server announced: LMTP instead of SMTP, and the extensions PIPELINING (RFC 2920), CHUNKING and
    BINARYMIME (RFC 3030), 8BITMIME (RFC 6152), SMTPUTF8 (RFC 6531) and SIZE (RFC 1870)."""

    lmtp: bool = False
    pipelining: bool = False
    chunking: bool = False
    eight_bit: bool = False
    binary: bool = False
    utf8: bool = False
    size: bool = False


class Mail(Protocol):
    """A message for some recipients. `sender`: the reverse path, "" for <>. `chunks()` yields `octets` octets."""

    @property
    def sender(self) -> str: ...

    @property
    def recipients(self) -> tuple[str, ...]: ...

    @property
    def octets(self) -> int: ...

    @property
    def body(self) -> Body: ...

    @property
    def chunks(self) -> Callable[[], Iterator[bytes]]: ...


@lru_cache(maxsize=4096)
def check_address(address: str) -> None:
    """Raises UsageError for what is not one address without angle brackets, spaces and control characters."""
    wrong = [character for character in address if character in "<>" or not character.isprintable() or character == " "]
    if not address or wrong or len(address.encode("utf-8", "replace")) > MAX_ADDRESS:
        raise UsageError(
            f"{quoted(address)} is no address that mail can be sent to: it must be neither empty nor over "
            f"{MAX_ADDRESS} octets long, and without spaces, angle brackets and control characters."
        )


def check(mail: Mail, offers: Offers) -> None:
    """Raises UsageError for an address, LocalProtocolError for what this server cannot carry unaltered."""
    for address in (*([mail.sender] if mail.sender else []), *mail.recipients):
        check_address(address)
    if not mail.recipients or len(set(mail.recipients)) < len(mail.recipients):
        raise LocalProtocolError("A message needs recipients, each of them once; it was not sent.")
    if mail.body is Body.BINARY and not (offers.chunking and offers.binary):
        raise _beyond("BINARYMIME and CHUNKING")
    if mail.body is Body.EIGHT_BIT and not offers.eight_bit:
        raise _beyond("8BITMIME")
    if not offers.utf8 and _needs_utf8(mail.sender, mail.recipients):
        raise _beyond("SMTPUTF8")


def _beyond(extension: str) -> LocalProtocolError:
    return LocalProtocolError(f"A message needs {extension}, which the server does not offer; it was not sent.")


def envelope(mail: Mail, offers: Offers) -> tuple[bytes, tuple[bytes, ...]]:
    """The MAIL command, and a RCPT command for each recipient, with their CRLFs. `mail` was checked."""
    begin, recipients = _envelope(mail.sender, mail.recipients, mail.body)
    size = b" SIZE=%d" % mail.octets if offers.size else b""
    return begin + size + b"\r\n", recipients


@lru_cache(maxsize=64)
def _envelope(sender: str, recipients: tuple[str, ...], body: Body) -> tuple[bytes, tuple[bytes, ...]]:
    parameter = {Body.EIGHT_BIT: " BODY=8BITMIME", Body.BINARY: " BODY=BINARYMIME"}.get(body, "")
    utf8 = " SMTPUTF8" if _needs_utf8(sender, recipients) else ""
    begin = f"MAIL FROM:<{sender}>{parameter}{utf8}".encode()
    return begin, tuple(f"RCPT TO:<{recipient}>\r\n".encode() for recipient in recipients)


def _needs_utf8(sender: str, recipients: tuple[str, ...]) -> bool:
    """RFC 6531 section 3.4: as soon as one address is not ASCII."""
    return not (sender.isascii() and all(recipient.isascii() for recipient in recipients))


def chunk(octets: int) -> bytes:
    """The command before so many octets, which others follow (RFC 3030 section 2)."""
    return b"BDAT %d\r\n" % octets


def bdat(octets: int) -> bytes:
    """The command before so many octets, which are the last of a message (RFC 3030 section 2)."""
    return b"BDAT %d LAST\r\n" % octets
