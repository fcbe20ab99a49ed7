"""The IMAP target against a real Dovecot: the way in, refusals, hostile content, and connections that break."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailmove.endpoints import open_target
from mailmove.errors import (
    AuthenticationRejected,
    CertificateRefused,
    ConnectionLost,
    HostUnreachable,
    MailboxRefused,
    MessageRejected,
    PlaintextRefused,
    QuotaExceeded,
    UsageError,
)
from mailmove.secrets import Secret
from mailmove.targets import Outgoing, Target
from mailmove.urls import parse_target
from tests.servers.dovecot import Dovecot
from tests.support.client import HOST, PASSWORD
from tests.support.imap_referee import Referee
from tests.support.proxy import Proxy, Session, close, reset

MOMENT = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)
OTHER_PASSWORD = "pässwörd ✓"
QUOTA = f"""
mail_plugins = quota
protocol imap {{
  mail_plugins = quota imap_quota
}}
plugin {{
  quota = maildir:User quota
  quota_rule = *:storage=100K
  quota_max_mail_size = 30K
}}
passdb {{
  driver = static
  args = password={OTHER_PASSWORD.replace(" ", "")}
}}
"""


Opener = Callable[..., Target]


@pytest.fixture
def open_at() -> Iterator[Opener]:
    """Logs in; what was opened is closed when the test ends."""
    with contextlib.ExitStack() as stack:

        def opened(
            port: int,
            user: str,
            *,
            scheme: str = "imap",
            host: str = HOST,
            ca: Path | str = "",
            password: str = PASSWORD,
            plaintext: bool = True,
            timeout: float = 20,
        ) -> Target:
            url, secret = f"{scheme}://{user}@{host}:{port}", Secret(password)
            session = open_target(
                url, secret, ca_file=str(ca), allow_plaintext=plaintext, timeout=timeout, ok=lambda: True
            )
            stack.callback(session.close)
            return session

        yield opened


def outgoing(octets: bytes, moment: datetime = MOMENT) -> Outgoing:
    return Outgoing(len(octets), moment, False, lambda: iter([octets]))


def letter(octets: int = 100) -> bytes:
    head = b"Subject: a letter\r\n\r\n"
    return head + (b"x" * 70 + b"\r\n") * (max(0, octets - len(head)) // 72)


@pytest.fixture(scope="module")
def plain_dovecot(needs_dovecot: None) -> Iterator[Dovecot]:
    with Dovecot(ssl=False) as server:
        yield server


@pytest.fixture
def target(open_at: Opener, plain_dovecot: Dovecot, user: str) -> Target:
    session = open_at(plain_dovecot.ports["imap"], user)
    session.select("INBOX")
    return session


@pytest.fixture
def stored(plain_dovecot: Dovecot, user: str) -> Callable[[], list[bytes]]:
    def ask() -> list[bytes]:
        with Referee(plain_dovecot.ports["imap"], user) as referee:
            return [one.octets for one in referee.stored("INBOX")]

    return ask


# ---- the way in


@pytest.mark.parametrize("scheme", ["imaps", "imap"])
def test_over_tls_from_the_start_or_by_starttls(open_at: Opener, dovecot: Dovecot, user: str, scheme: str) -> None:
    ca = dovecot.certificates.ca
    session = open_at(dovecot.ports[scheme], user, scheme=scheme, ca=ca, plaintext=False)
    session.select("INBOX")
    receipt = session.append(outgoing(letter()))
    assert session.body(receipt.uid) == letter()
    session.quit()


def test_starttls_comes_before_the_login(open_at: Opener, dovecot: Dovecot, user: str) -> None:
    with Proxy(dovecot.ports["imap"]) as proxy:
        open_at(proxy.port, user, ca=dovecot.certificates.ca).quit()
        proxy.wait()
        commands = proxy.sessions[0].commands
    assert commands[0].endswith(" STARTTLS") and not any("LOGIN" in command for command in commands)


@pytest.mark.parametrize("scheme", ["imaps", "imap"])
@pytest.mark.parametrize(
    ("kind", "word"), [("self_signed", "self-signed"), ("expired", "expired"), ("wrong_host", "match")]
)
def test_a_bad_certificate_is_refused_in_one_sentence(
    open_at: Opener, needs_dovecot: None, user: str, scheme: str, kind: str, word: str
) -> None:
    with Dovecot(certificate=kind) as server:
        ca = "" if kind == "self_signed" else server.certificates.ca
        with pytest.raises(CertificateRefused) as caught:
            open_at(server.ports[scheme], user, scheme=scheme, ca=ca)
    assert word in caught.value.message and caught.value.message.endswith("Nothing was sent.")


def test_plaintext_only_with_the_flag_and_no_password_before(
    open_at: Opener, plain_dovecot: Dovecot, user: str
) -> None:
    with Proxy(plain_dovecot.ports["imap"]) as proxy:
        with pytest.raises(PlaintextRefused, match="STARTTLS"):
            open_at(proxy.port, user, plaintext=False)
        proxy.wait()
        assert proxy.sessions[0].commands == [], "what the server can do is in its greeting"
    open_at(plain_dovecot.ports["imap"], user).quit()


@pytest.mark.parametrize("password", ["letmein", "lètmein", 'quo"te\\', "two words {5}"])
def test_a_wrong_password_is_said_so_without_repeating_it(
    open_at: Opener, plain_dovecot: Dovecot, user: str, password: str
) -> None:
    with pytest.raises(AuthenticationRejected) as caught:
        open_at(plain_dovecot.ports["imap"], user, password=password)
    assert user in caught.value.message and password not in caught.value.message
    assert caught.value.server_text and caught.value.server_text in caught.value.message


def test_an_unknown_host_is_said_so(open_at: Opener) -> None:
    with pytest.raises(HostUnreachable, match=r"no-such-host\.invalid"):
        open_at(993, "me", host="no-such-host.invalid", scheme="imaps")


def test_tls_where_none_is_spoken(open_at: Opener, plain_dovecot: Dovecot, user: str) -> None:
    with pytest.raises(HostUnreachable, match=r"does not speak TLS on this port; .*993 for IMAP"):
        open_at(plain_dovecot.ports["imap"], user, scheme="imaps")


def test_plaintext_where_tls_is_spoken(open_at: Opener, dovecot: Dovecot, user: str) -> None:
    with pytest.raises(HostUnreachable, match="is this a TLS port"):
        open_at(dovecot.ports["imaps"], user, timeout=0.5)


def test_names_of_a_target() -> None:
    same = [parse_target(url).name for url in ("imaps://Me@x@Mail.Example", "imap://Me@x@mail.example:1430")]
    assert same == ["imap://Me@x@mail.example"] * 2
    with pytest.raises(UsageError, match="no IMAP target"):
        parse_target("pop3s://me@mail.example")


# ---- quota, sizes, and a password beyond ASCII


@pytest.fixture(scope="module")
def small_dovecot(needs_dovecot: None) -> Iterator[Dovecot]:
    with Dovecot(ssl=False, extra=QUOTA) as server:
        yield server


def test_a_full_mailbox_and_the_session_goes_on(open_at: Opener, small_dovecot: Dovecot, user: str) -> None:
    session = open_at(small_dovecot.ports["imap"], user)
    session.select("INBOX")
    data = letter(25_000)
    with pytest.raises(QuotaExceeded) as caught:
        for _ in range(10):
            session.append(outgoing(data))
    assert "OVERQUOTA" in caught.value.server_text
    assert 2 <= session.moment().messages < 10
    assert session.append(outgoing(letter())).uid


def test_a_message_too_large_is_refused_and_the_session_goes_on(
    open_at: Opener, small_dovecot: Dovecot, user: str
) -> None:
    session = open_at(small_dovecot.ports["imap"], user)
    session.select("INBOX")
    with pytest.raises(MessageRejected) as caught:
        session.append(outgoing(letter(40_000)))
    assert (caught.value.cause, caught.value.code) == ("size", "LIMIT")
    assert session.append(outgoing(letter())).uid


def test_an_empty_message_is_refused_by_dovecot(target: Target) -> None:
    with pytest.raises(MessageRejected) as caught:
        target.append(outgoing(b""))
    assert caught.value.cause == "empty"
    assert target.append(outgoing(letter())).uid


def test_a_password_beyond_ascii(open_at: Opener, small_dovecot: Dovecot, user: str) -> None:
    open_at(small_dovecot.ports["imap"], user, password=OTHER_PASSWORD.replace(" ", "")).quit()


# ---- hostile content


@pytest.mark.parametrize(
    ("moment", "date"),
    [
        (datetime(999, 1, 1, tzinfo=UTC), "01-Jan-1970 00:00:00 +0000"),
        (datetime.min.replace(tzinfo=UTC), "01-Jan-1970 00:00:00 +0000"),
        (datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC), "03-Feb-2001 04:05:06 +0000"),
        (datetime.max.replace(tzinfo=UTC), None),
        (datetime(9999, 12, 31, 23, 59, tzinfo=UTC), None),
    ],
)
def test_a_date_no_server_could_read_is_clamped(
    plain_dovecot: Dovecot, user: str, target: Target, moment: datetime, date: str | None
) -> None:
    data = b"Date: Mon, 01 Jan 0999 00:00:00 +0000\r\n\r\nx1 CREATE PWNED\r\n"
    before = datetime.now(UTC) - timedelta(seconds=2)
    target.append(outgoing(data, moment))
    with Referee(plain_dovecot.ports["imap"], user) as referee:
        (one,) = referee.stored("INBOX")
        assert "PWNED" not in referee.mailboxes()
    assert one.octets == data
    told = datetime.strptime(one.date, "%d-%b-%Y %H:%M:%S %z")
    assert one.date == date if date else before <= told <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("name", "wire"),
    [
        ("Entwürfe", "Entw&APw-rfe"),
        ('say "hi"', 'say "hi"'),
        ("{5+}", "{5+}"),
        ("{5}", "{5}"),
        ("back\\slash", "back\\slash"),
        ("a & b", "a &- b"),
        (") x1 CREATE PWNED (", ") x1 CREATE PWNED ("),
    ],
)
def test_a_mailbox_name_is_never_a_command(
    plain_dovecot: Dovecot, user: str, target: Target, name: str, wire: str
) -> None:
    assert target.status(name) is None
    target.create(name)
    target.select(name)
    target.append(outgoing(letter()))
    with Referee(plain_dovecot.ports["imap"], user) as referee:
        assert referee.mailboxes() == {"INBOX", wire}


@pytest.mark.parametrize("name", ["a\r\nx1 CREATE PWNED", "a\nb", "a\0b", "", "\ud800"])
def test_a_mailbox_name_that_cannot_be_one_is_refused_before_anything_is_sent(target: Target, name: str) -> None:
    for ask in (target.status, target.create, target.select):
        with pytest.raises(UsageError):
            ask(name)
    target.select("INBOX")


def test_a_name_dovecot_refuses_is_refused_in_its_words(target: Target) -> None:
    with pytest.raises(MailboxRefused, match="'/' characters"):
        target.create("a/b")
    assert target.moment().messages == 0


def test_a_name_that_has_only_children_is_absent_and_can_be_made(target: Target) -> None:
    target.create("parent.child")
    assert target.status("parent") is None
    target.create("parent")
    assert target.status("parent")


REWRITTEN = [
    (b"Subject: ends\r\n\r\nbare\nLF\n", b"Subject: ends\r\n\r\nbare\r\nLF\r\n"),
    (b"Subject: ends\r\n\r\nbare\rCR\r\n", b"Subject: ends\r\n\r\nbare\rCR\r\n"),
    (b"Subject: ends\r\n\r\nNUL\0\r\n", b"Subject: ends\r\n\r\nNUL\x80\r\n"),
    (b"Subject: 8bit \xff\xfe\r\n\r\n\x80\x81\xff\r\n", b"Subject: 8bit \xff\xfe\r\n\r\n\x80\x81\xff\r\n"),
    (b"Subject: no end\r\n\r\nno end", b"Subject: no end\r\n\r\nno end"),
    (b"Subject: CR before CRLF\r\n\r\nx\r\r\n", b"Subject: CR before CRLF\r\n\r\nx\r\n"),
    (b"Subject: CR at the end\r\n\r\nx\r", b"Subject: CR at the end\r\n\r\nx"),
    (b"\r\n.\r\n..\r\nFrom here\r\n", b"\r\n.\r\n..\r\nFrom here\r\n"),
]


@pytest.mark.parametrize(("sent", "kept"), REWRITTEN)
def test_what_we_send_is_sent_as_it_is_whatever_dovecot_makes_of_it(
    open_at: Opener, plain_dovecot: Dovecot, user: str, sent: bytes, kept: bytes
) -> None:
    with Proxy(plain_dovecot.ports["imap"]) as proxy:
        session = open_at(proxy.port, user)
        session.select("INBOX")
        uid = session.append(outgoing(sent)).uid
        assert session.body(uid) == kept
        session.quit()
        proxy.wait()
        commands = "\n".join(proxy.sessions[0].commands).encode("latin-1")
    assert sent.replace(b"\r\n", b"\n") in commands


def test_thirty_megabytes_go_through_as_they_are(target: Target) -> None:
    chunk = bytes(range(32, 127)) * 10 + b"\r\n"
    count = 30_000_000 // len(chunk)
    digest, head = hashlib.sha256(), b"Subject: large\r\n\r\n"

    def chunks() -> Iterator[bytes]:
        yield head
        for _ in range(count):
            yield chunk

    for part in chunks():
        digest.update(part)
    receipt = target.append(Outgoing(len(head) + count * len(chunk), MOMENT, False, chunks))
    body = target.body(receipt.uid)
    assert body is not None and hashlib.sha256(body).digest() == digest.digest()


# ---- connections that break


@pytest.mark.parametrize("action", [close, reset])
def test_a_connection_cut_before_the_message_leaves_nothing(
    open_at: Opener,
    plain_dovecot: Dovecot,
    user: str,
    stored: Callable[[], list[bytes]],
    action: Callable[[Session], object],
) -> None:
    with Proxy(plain_dovecot.ports["imap"]) as proxy:
        session = open_at(proxy.port, user)
        session.select("INBOX")
        proxy.at(proxy.down + 3, action)  # in the middle of "+ OK", so the message is under way or never sent
        with pytest.raises(ConnectionLost):
            session.append(outgoing(letter(5_000_000)))
    assert stored() == []


def test_a_message_cut_in_its_middle_is_not_there(
    open_at: Opener, plain_dovecot: Dovecot, user: str, stored: Callable[[], list[bytes]]
) -> None:
    data = letter(5_000_000)
    with Proxy(plain_dovecot.ports["imap"]) as proxy:
        session = open_at(proxy.port, user)
        session.select("INBOX")

        def chunks() -> Iterator[bytes]:
            yield data[:1_000_000]
            yield data[1_000_000:2_000_000]
            connection = proxy.sessions[0].connection
            assert connection
            connection.shutdown(2)  # both ways: the server gets what it got, and then the end
            yield data[2_000_000:]

        with pytest.raises(ConnectionLost):
            session.append(Outgoing(len(data), MOMENT, False, chunks))
        proxy.wait()
    assert stored() == []


def test_an_answer_that_is_cut_off_is_a_lost_connection_though_the_message_is_there(
    open_at: Opener, plain_dovecot: Dovecot, user: str, stored: Callable[[], list[bytes]]
) -> None:
    with Proxy(plain_dovecot.ports["imap"]) as proxy:
        session = open_at(proxy.port, user)
        session.select("INBOX")
        proxy.at(proxy.down + len(b"+ OK\r\n") + 5, close)
        with pytest.raises(ConnectionLost, match="in the middle of APPEND"):
            session.append(outgoing(letter()))
    assert stored() == [letter()]
