"""The scripted SMTP server: without quirks it is an SMTP or LMTP server, and each lie is told as it was asked for.

Strategy: smtplib where an honest client will do (it can neither pipeline nor BDAT, nor read LMTP's replies beyond the
first), and a bare socket for all that comes in one write.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Sequence

import pytest

from tests.hostile.smtp_peer import Rule, SmtpPeer, SmtpQuirks, Then, without
from tests.servers import certs
from tests.support.client import HOST, PASSWORD

LETTER = b"Subject: hi\r\n\r\n.a dot\r\n..\r\ntext\r\n"
MAIL = b"MAIL FROM:<me@a.example>\r\n"


def rcpt(*names: str) -> bytes:
    return b"".join(f"RCPT TO:<{name}@b.example>\r\n".encode() for name in names)


def bdat(octets: bytes, last: str = " LAST") -> bytes:
    return f"BDAT {len(octets)}{last}\r\n".encode() + octets


def said(peer: SmtpPeer, *parts: bytes, hello: bytes = b"") -> list[bytes]:
    """Every line that comes back when all of this is sent in one write, without greeting and answer to EHLO or LHLO."""
    hello = hello or (b"LHLO c\r\n" if peer.quirks.lmtp else b"EHLO c\r\n")
    with socket.create_connection((HOST, peer.port), 10) as connection, connection.makefile("rb") as lines:
        lines.readline()
        connection.sendall(hello)
        while lines.readline().startswith(b"250-"):
            pass
        connection.sendall(b"".join(parts))
        connection.shutdown(socket.SHUT_WR)
        return lines.read().splitlines()


def codes(lines: Sequence[bytes]) -> list[bytes]:
    return [line[:3] for line in lines]


# ---- an honest server


def test_an_honest_peer_is_an_smtp_server() -> None:
    with SmtpPeer() as peer, smtplib.SMTP(HOST, peer.port, "client", 10) as smtp:
        smtp.login("me", PASSWORD)
        assert smtp.sendmail("me@a.example", ["x@b.example", "y@b.example"], LETTER, ["BODY=8BITMIME"]) == {}
        assert smtp.sendmail("", ["x@b.example"], b"Subject: 2\r\n\r\n") == {}
        assert smtp.noop()[0] == smtp.rset()[0] == 250
    assert peer.arrived == [("x@b.example", LETTER), ("y@b.example", LETTER), ("x@b.example", b"Subject: 2\r\n\r\n")]
    first, second = peer.transactions
    assert (first.sender, first.by, first.ended) == ("me@a.example", "DATA", True)
    assert first.parameters == f"size={len(LETTER)} BODY=8BITMIME" and second.sender == ""
    assert peer.verbs[-3:] == ["NOOP", "RSET", "QUIT"] and peer.violations == []


def test_an_honest_peer_is_an_lmtp_server() -> None:
    with SmtpPeer(SmtpQuirks(lmtp=True)) as peer:
        with smtplib.LMTP(HOST, peer.port) as lmtp:
            assert lmtp.sendmail("", ["x@b.example"], LETTER) == {}
        assert codes(said(peer, b"EHLO c\r\n", hello=b"LHLO c\r\n")) == [b"500"]
    assert peer.arrived == [("x@b.example", LETTER)]


@pytest.mark.parametrize("starttls", [False, True])
def test_tls(certificates: certs.Certificates, starttls: bool) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.cert("good"), certificates.key("good"))
    trusting = ssl.create_default_context(cafile=str(certificates.ca))
    trusting.check_hostname = False
    with SmtpPeer(SmtpQuirks(login_needed=True), context=context, starttls=starttls) as peer:
        kind = smtplib.SMTP(HOST, peer.port) if starttls else smtplib.SMTP_SSL(HOST, peer.port, context=trusting)
        with kind as smtp:
            if starttls:
                smtp.ehlo()
                assert not smtp.has_extn("auth")
                smtp.starttls(context=trusting)
            with pytest.raises(smtplib.SMTPSenderRefused, match="authentication"):
                smtp.sendmail("me@a.example", ["x@b.example"], LETTER)
            with pytest.raises(smtplib.SMTPAuthenticationError):
                smtp.login("me", "wrong")
            smtp.login("me", PASSWORD)
            smtp.sendmail("me@a.example", ["x@b.example"], LETTER)
    assert peer.arrived == [("x@b.example", LETTER)]


def test_transactions_in_one_write_are_answered_in_order() -> None:
    letters = [b"Subject: %d\r\n\r\n.\n.\r\n\0" % n + b"x" * n * 700 for n in range(60)]
    binary = b"MAIL FROM:<> BODY=BINARYMIME\r\n"
    with SmtpPeer(SmtpQuirks(lmtp=True)) as peer:
        answers = said(peer, *(binary + rcpt("x", "y") + bdat(one) for one in letters), b"QUIT\r\n")
    assert codes(answers) == [b"250"] * 60 * 5 + [b"221"]
    assert answers[3:5] == [b"250 2.1.5 <x@b.example> saved", b"250 2.1.5 <y@b.example> saved"]
    assert peer.arrived == [(name, one) for one in letters for name in ("x@b.example", "y@b.example")]
    assert peer.violations == []


def test_a_message_in_several_chunks() -> None:
    with SmtpPeer() as peer:
        answers = said(peer, MAIL, rcpt("x"), bdat(b"Subject:", ""), bdat(b" 1\r\n\r\n", ""), bdat(b""))
    assert codes(answers) == [b"250"] * 5 and peer.arrived == [("x@b.example", b"Subject: 1\r\n\r\n")]


def test_what_was_not_offered_is_refused() -> None:
    with SmtpPeer(SmtpQuirks(extensions=())) as peer:
        for parameter in (b" BODY=8BITMIME", b" BODY=BINARYMIME", b" SMTPUTF8", b" SIZE=1"):
            assert codes(said(peer, MAIL.replace(b"\r\n", parameter + b"\r\n"))) == [b"555"]
        assert codes(said(peer, MAIL, rcpt("x"), bdat(b"NOOP\r\n"))) == [b"250", b"250", b"500", b"250"]
    assert peer.commands[-1] == "NOOP"


def test_a_message_above_the_announced_size_is_refused_before_it_is_sent() -> None:
    with SmtpPeer(SmtpQuirks(extensions=("SIZE 100",))) as peer:
        assert codes(said(peer, b"MAIL FROM:<> SIZE=101\r\n")) == [b"552"]
        assert codes(said(peer, b"MAIL FROM:<> SIZE=100\r\n")) == [b"250"]


def test_no_message_without_a_recipient() -> None:
    with SmtpPeer() as peer:
        assert codes(said(peer, MAIL, b"DATA\r\n")) == [b"250", b"503"]
        assert codes(said(peer, MAIL, bdat(LETTER), MAIL, MAIL)) == [b"250", b"503", b"250", b"503"]
    assert peer.arrived == []


def test_no_more_recipients_than_it_takes_in_one_transaction() -> None:
    with SmtpPeer(SmtpQuirks(most_recipients=2)) as peer:
        answers = said(peer, MAIL, rcpt("x", "y", "z"), bdat(LETTER), MAIL, rcpt("z"), bdat(LETTER))
    assert [line[:9] for line in answers if line.startswith(b"4")] == [b"452 4.5.3"]
    assert peer.arrived == [(f"{name}@b.example", LETTER) for name in "xyz"]


@pytest.mark.parametrize(
    ("extensions", "parts", "word"),
    [
        (without("PIPELINING"), [MAIL, rcpt("x")], "behind 'MAIL"),
        (without("PIPELINING"), [MAIL, rcpt("x"), bdat(LETTER), b"NOOP\r\n"], "behind a message"),
        (without(), [MAIL, rcpt("x"), b"DATA\r\n", b"Subject: x\r\n\r\n.\r\n"], "behind 'DATA'"),
        (without(), [MAIL, rcpt("x"), bdat(b"a\nb\r\n")], "bare newline by BDAT"),
        (without(), [MAIL, rcpt("x"), bdat("ä".encode())], "8 bits by BDAT"),
    ],
)
def test_what_a_client_may_not_do_is_noted(extensions: tuple[str, ...], parts: list[bytes], word: str) -> None:
    with SmtpPeer(SmtpQuirks(extensions=extensions)) as peer:
        said(peer, *parts)
    assert any(word in one for one in peer.violations), peer.violations


def test_a_lenient_server_ends_a_message_early_and_reads_the_rest_as_commands() -> None:
    lenient = rb"(\r\n|\n)\.\r?\n"
    smuggled = b"Subject: x\r\n\r\n\n.\nMAIL FROM:<evil@a.example>\r\n\r\n.\r\n"
    for ends, verbs in ((lenient, ["EHLO", "MAIL", "RCPT", "DATA", "MAIL", "", "."]), (SmtpQuirks.data_ends, [])):
        with SmtpPeer(SmtpQuirks(data_ends=ends)) as peer:
            said(peer, MAIL, rcpt("x"), b"DATA\r\n", smuggled)
        assert peer.verbs == (verbs or ["EHLO", "MAIL", "RCPT", "DATA"])


# ---- lies


def test_a_reply_of_the_tests_own_decides_what_becomes_of_it() -> None:
    rules = [
        Rule("RCPT TO:<y@.*", b"550 5.1.1 no such user\r\n"),
        Rule("END", b"554 5.6.0 no\r\n", holds=b"bad"),
        Rule("END", b"", skip=1, times=1, keeps=True),
    ]
    with SmtpPeer(SmtpQuirks(rules=rules)) as peer:
        answers = said(peer, *(MAIL + rcpt("x", "y") + bdat(one) for one in (b"bad\r\n", b"1\r\n", b"2\r\n", b"3\r\n")))
    one = [b"250", b"250", b"550"]
    assert codes(answers) == [*one, b"554", *one, b"250", *one, *one, b"250"]
    assert peer.arrived == [("x@b.example", b"1\r\n"), ("x@b.example", b"2\r\n"), ("x@b.example", b"3\r\n")]
    assert peer.transactions[0].offered == ["x@b.example", "y@b.example"]


def test_a_rule_for_one_of_several_recipients_at_the_end() -> None:
    with SmtpPeer(SmtpQuirks(lmtp=True, rules=[Rule("END <y@.*", b"452 4.2.2 full\r\n")])) as peer:
        answers = said(peer, MAIL, rcpt("x", "y", "z"), bdat(LETTER))
    assert codes(answers)[-3:] == [b"250", b"452", b"250"]
    assert peer.arrived == [("x@b.example", LETTER), ("z@b.example", LETTER)]


@pytest.mark.parametrize("then", [Then.CLOSE, Then.RESET])
def test_the_connection_ends_in_the_middle_of_a_message(then: Then) -> None:
    body = b"x" * 1000 + b"\r\n"
    for parts in ([bdat(body)], [b"DATA\r\n", body + b".\r\n"]):
        with SmtpPeer(SmtpQuirks(rules=[Rule("BODY.*", then=then, after=500, times=1)])) as peer:
            try:
                assert len(said(peer, MAIL, rcpt("x"), *parts)) <= 3
            except OSError:  # reset
                assert then is Then.RESET
            assert b"250 2.0.0 queued" in said(peer, MAIL, rcpt("x"), *parts)
        assert peer.arrived == [("x@b.example", body)]


def test_a_refused_chunk_is_read_or_taken_for_commands() -> None:
    for unread, expected in ((False, [b"502", b"250"]), (True, [b"502", b"250", b"250"])):
        with SmtpPeer(SmtpQuirks(rules=[Rule("BDAT.*", b"502 5.5.1 no\r\n", unread=unread)])) as peer:
            assert codes(said(peer, MAIL, rcpt("x"), bdat(b"NOOP\r\n"), MAIL))[2:] == expected


def test_commands_that_come_together_are_forgotten_or_not_answered() -> None:
    with SmtpPeer(SmtpQuirks(forgets_pipelined=True)) as peer:
        assert codes(said(peer, MAIL, rcpt("x"), b"DATA\r\n")) == [b"250"]
    with SmtpPeer(SmtpQuirks(rules=[Rule("MAIL.*", b"", crowded=True)])) as peer:
        assert codes(said(peer, MAIL)) == [b"250"] and codes(said(peer, MAIL, rcpt("x"))) == [b"250"]


def test_the_greeting_is_a_stage_and_a_rule_may_be_for_one_session() -> None:
    with SmtpPeer(SmtpQuirks(rules=[Rule("GREETING", b"421 4.3.2 not now\r\n", Then.GOODBYE, session=1)])) as peer:
        with pytest.raises(smtplib.SMTPConnectError, match="not now"):
            smtplib.SMTP(HOST, peer.port)
        with smtplib.SMTP(HOST, peer.port) as smtp:
            assert smtp.ehlo()[0] == 250
        peer.wait()
        peer.becomes(SmtpQuirks(rules=[Rule("EHLO.*", b"502 what\r\n")]))
        with smtplib.SMTP(HOST, peer.port) as smtp:
            assert smtp.ehlo()[0] == 502 and smtp.helo()[0] == 250
