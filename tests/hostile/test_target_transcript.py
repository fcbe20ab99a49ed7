"""What the wire log is told of an IMAP session: lines, no messages, and no secret even where the server repeats it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import pytest

from mailmove.errors import AuthenticationRejected
from mailmove.targets import Outgoing
from mailmove.targets.imap import ImapTarget, open_imap
from mailmove.targets.imap_login import ImapEndpoint
from tests.hostile.imap_peer import ImapPeer, ImapQuirks, Peers
from tests.support.client import HOST, PASSWORD

LETTER = b"Subject: private\r\n\r\nnobody's business\r\n"
TOKEN = "Zq7-tangerine-kiosk-31"
BEARER = base64.b64encode(f"user=me\1auth=Bearer {TOKEN}\1\1".encode()).decode()


class Told:
    """The lines of one session."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, direction: str, line: str) -> None:
        self.lines.append(f"{direction} {line}")

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@pytest.fixture
def told() -> Iterator[Told]:
    yield Told()


def opened(peer: ImapPeer, told: Told, secret: str = PASSWORD, *, bearer: bool = False) -> ImapTarget:
    endpoint = ImapEndpoint(HOST, peer.port, "me", False, allow_plaintext=True, timeout=10, bearer=bearer)
    return open_imap(endpoint, secret, lambda: True, told)


def test_a_session(peers: Peers, told: Told) -> None:
    fetched = b"* 1 FETCH (UID 1 BODY[] {%d}\r\n%s)\r\n{tag} OK done\r\n" % (len(LETTER), LETTER)
    peer = peers(ImapQuirks(replies={"UID FETCH": fetched}))
    with closing(opened(peer, told)) as target:
        target.select("INBOX")
        target.append(Outgoing(len(LETTER), datetime.now(UTC), False, lambda: iter([LETTER[:9], LETTER[9:]])))
        assert target.body(1) == LETTER
    assert peer.stored == [LETTER]
    commands = [line.partition(" ")[2].partition(" ")[2] for line in told.lines if line.startswith("C ")]
    assert commands[:3] == ["CAPABILITY", "LOGIN ***", "CAPABILITY"]
    assert "octets of message]" in commands[-2] + commands[-3]
    assert f"S [{len(LETTER)} octets of message]" in told.lines
    assert told.lines[0] == "S * OK ready" and any(line.endswith("OK appended") for line in told.lines)
    assert PASSWORD not in told.text and "private" not in told.text and "business" not in told.text


def test_an_append_says_how_long_the_message_was_before_its_answer(peers: Peers, told: Told) -> None:
    with closing(opened(peers(), told)) as target:
        target.select("INBOX")
        target.append(Outgoing(len(LETTER), datetime.now(UTC), False, lambda: iter([LETTER])))
    place = told.lines.index(f"C [{len(LETTER)} octets of message]")
    assert told.lines[place - 1] == "S + go on" and "OK appended" in "".join(told.lines[place:])


@pytest.mark.parametrize("echo", [TOKEN, BEARER])
def test_a_token_that_the_server_repeats(peers: Peers, told: Told, echo: str) -> None:
    """First as its reason, in a challenge, then in its answer: neither the error nor the log has it."""
    reason = base64.b64encode(f'{{"status":"401","token":"{TOKEN}"}}'.encode())
    said = b"+ \r\n+ " + reason + b"\r\n{tag} NO what is " + echo.encode() + b"\r\n"
    peer = peers(ImapQuirks(replies={"AUTHENTICATE": said, "": b"* OK noted\r\n"}))
    with pytest.raises(AuthenticationRejected) as caught:
        opened(peer, told, TOKEN, bearer=True)
    assert '{"status":"401","token":"***"}' in caught.value.message and "what is ***" in caught.value.message
    assert told.lines.count("C ***") == 1, "the reason is acknowledged, not the token repeated"
    assert not any(form in told.text + repr(vars(caught.value)) for form in (TOKEN, BEARER, reason.decode()))
