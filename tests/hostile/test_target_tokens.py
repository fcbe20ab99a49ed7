"""Tokens that an IMAP server refuses, or that run out; and SCRAM, where the server itself must prove something.

Strategy: as in test_target_auth.py.
"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mailmove.errors import AuthenticationRejected, ConfigurationError, ConnectionLost, TokenRefused, TryLater
from mailmove.targets import Outgoing
from tests.hostile.imap_peer import ImapQuirks, Opener, Peers, Selected
from tests.hostile.imap_sasl_peer import BEYOND, OK, Begin, log_in, refused
from tests.hostile.sasl_peer import Reply
from tests.hostile.test_login import SECRET, XOAUTH2, Scram, encoded, server_first

# ---- Tokens


FAILURE = '{"status":"401","schemes":"bearer","scope":"https://mail.example/"}'
WHY = "+ " + encoded(FAILURE)


@pytest.mark.parametrize("capabilities", ["SASL-IR", ""])
@pytest.mark.parametrize(("way", "acknowledged"), [("xoauth2", ""), ("oauthbearer", "AQ==")])
@pytest.mark.parametrize("end", ["{tag} NO no", "{tag} BAD no", "* BYE no", ""])
def test_why_a_token_was_refused_is_told(
    begin: Begin, capabilities: str, way: str, acknowledged: str, end: str
) -> None:
    """Some hang up after the reason, or find the acknowledgement ungrammatical: it is a refusal all the same."""
    begun = [] if capabilities else ["+ "]
    peer = begin(f"{capabilities} AUTH={way.upper()}", [*begun, WHY, end])
    said = refused(peer, TokenRefused, bearer=True)
    assert FAILURE in said and "token" in said and "password" not in said
    assert peer.sessions[0][-1] == acknowledged and len(peer.sessions) == 1


def test_a_server_that_takes_no_tokens_gets_none(begin: Begin) -> None:
    peer = begin("AUTH=PLAIN SASL-IR", [])
    assert "does not offer XOAUTH2 (it offers PLAIN); log in with a password" in refused(
        peer, ConfigurationError, bearer=True
    )
    assert peer.sessions == [[]]


def test_a_server_that_repeats_the_token_in_its_reason(begin: Begin) -> None:
    peer = begin("SASL-IR AUTH=XOAUTH2", ["+ " + encoded(f"bad {SECRET}"), f"{{tag}} NO bad {XOAUTH2}"])
    assert refused(peer, TokenRefused, bearer=True).count("bad ***") == 2


def test_a_token_that_is_refused_while_the_server_is_busy(begin: Begin) -> None:
    refused(begin("SASL-IR", [WHY, "{tag} NO [UNAVAILABLE] later"]), TryLater, bearer=True)


OVER = b"{tag} NO [EXPIRED] The token has run out\r\n"


def test_a_token_that_runs_out_in_mid_session_is_about_no_message_and_no_mailbox(selected: Selected) -> None:
    """Whatever is refused for it can be had in another session: nothing is parked, nothing taken for absent."""
    message = Outgoing(5, datetime.now(UTC), False, lambda: iter([b"12345"]))
    _, target = selected(uids=[3, 5], replies={"APPEND": OVER, "STATUS": OVER, "FETCH": OVER, "UID FETCH": OVER})
    for ask in (
        lambda: target.append(message),
        lambda: target.status("There"),
        target.moment,
        lambda: list(target.found(1)),
        lambda: target.body(3),
    ):
        with pytest.raises(ConnectionLost, match=r"\[EXPIRED\] The token has run out"):
            ask()


def test_a_mailbox_that_is_not_opened_for_a_token_that_has_run_out(peers: Peers, enter: Opener) -> None:
    target = enter(peers(ImapQuirks(replies={"SELECT": OVER, "CREATE": OVER})))
    for ask in (target.select, target.create):
        with pytest.raises(ConnectionLost, match="EXPIRED"):
            ask("INBOX")


# ---- SCRAM, where the server must prove itself


@pytest.mark.parametrize("capabilities", ["AUTH=SCRAM-SHA-256 SASL-IR", "AUTH=SCRAM-SHA-256"])
def test_a_server_that_proves_to_know_the_password(begin: Begin, capabilities: str) -> None:
    scram = Scram(SECRET)
    begun = [] if "SASL-IR" in capabilities else ["+ "]
    peer = begin(capabilities, [*begun, scram.first, scram.final, OK])
    log_in(peer)
    assert len(peer.sessions[0]) == 3 + len(begun) and peer.sessions[0][-1] == ""


@pytest.mark.parametrize("end", ["{tag} BAD cancelled", "{tag} NO cancelled", "{tag} OK welcome", "+ ", ""])
def test_a_server_that_has_another_password_is_given_up(begin: Begin, end: str) -> None:
    """The answer to "*" must be BAD (RFC 9051 section 6.2.2); whatever it is, nobody is logged in."""
    scram = Scram("guessed")
    peer = begin("AUTH=SCRAM-SHA-256 SASL-IR", [scram.first, scram.final, end])
    assert "given up" in refused(peer, AuthenticationRejected)
    assert peer.sessions[0][-1] == "*" and len(peer.sessions[0]) == 3


@pytest.mark.parametrize("dialogue", [[OK], [server_first, OK]])
def test_a_success_without_proof_is_none(begin: Begin, dialogue: list[Reply]) -> None:
    peer = begin("AUTH=SCRAM-SHA-256 SASL-IR", dialogue)
    assert "without showing" in refused(peer, AuthenticationRejected)


def test_a_server_that_takes_another_nonce_is_given_up(begin: Begin) -> None:
    peer = begin("AUTH=SCRAM-SHA-256 SASL-IR", ["+ " + encoded("r=other,s=c2l4dGVlbiBvY3RldHMuLg==,i=4096"), OK])
    refused(peer, AuthenticationRejected)
    assert peer.sessions[0][-1] == "*" and len(peer.sessions[0]) == 2


def test_unencrypted_the_password_itself_is_not_sent(begin: Begin) -> None:
    scram = Scram(BEYOND)
    peer = begin("AUTH=PLAIN AUTH=LOGIN AUTH=SCRAM-SHA-256" + " SASL-IR", [scram.first, scram.final, OK])
    log_in(peer, secret=BEYOND)
    assert not [line for line in peer.sessions[0] if BEYOND in line or encoded(f"\0me\0{BEYOND}") in line]
