"""What may go out over SMTP and LMTP, to whom, as whom, and how fast: as a user asks for it, and as a server sees it.

Strategy: mailmove as a process of its own against a scripted server, which notes every command and every message. A
refusal is one sentence, and then the server has had no message at all.
"""

from __future__ import annotations

import os
import pty
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from mailmove.archive.layout import Layout
from mailmove.model import Digest
from tests.hostile.smtp_peer import SmtpPeer, SmtpQuirks, without
from tests.support import archives
from tests.support.cli import PASSWORD_FROM_ENV, Result, finish, mailmove, start_mailmove
from tests.support.client import HOST
from tests.support.relaying import ONE, TWO, USER, assert_accounted, assert_all_there, named, pairs, relayed
from tests.support.replaying import fill
from tests.unit.archive.making import alter

COMPLETE, USAGE, PARTIAL, LATER, CONFIGURATION = 0, 2, 3, 75, 78
LMTP, SMTP = SmtpQuirks(lmtp=True), SmtpQuirks()


def letter(name: str, *fields: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (*fields, f"Subject: {name}", "", f"body of {name}")).encode()


LETTERS = [letter(name) for name in ("one", "two", "three", "four", "five")]


def url(peer: SmtpPeer, user: str = USER) -> str:
    at = f"{user}@" if user else ""
    return f"{'lmtp' if peer.quirks.lmtp else 'smtp'}://{at}{HOST}:{peer.port}"


def asked(target: str, archive: Path, *more: object) -> Result:
    """With nothing but these words."""
    return mailmove("replay", target, "-a", archive, "--json", "--allow-plaintext", *PASSWORD_FROM_ENV, *more)


def refused(result: Result, code: int, *said: str) -> None:
    assert result.code == code, result
    assert result.stderr.startswith("mailmove: ") and len(result.stderr.splitlines()) == 1, result
    assert all(word in result.stderr for word in said), result
    assert (result.stdout == "") == (code == USAGE), result


def nothing_sent(peer: SmtpPeer) -> None:
    peer.wait()
    assert not set(peer.verbs) & {"MAIL", "RCPT", "DATA", "BDAT"}, peer.commands


def lines(peer: SmtpPeer, verb: str) -> set[str]:
    """What the commands with this verb named."""
    found = (re.match(rf"{verb}:<([^>]*)>", command) for command in peer.commands)
    return {one[1] for one in found if one}


# ---- recipients


def test_nobody_is_guessed(archive_dir: Path) -> None:
    fill(archive_dir, LETTERS)
    with SmtpPeer(SMTP) as peer:
        refused(asked(url(peer), archive_dir), USAGE, "--rcpt")
        refused(asked(url(peer), archive_dir, "--rcpt", ONE, "--yes"), USAGE, "--original-recipients")
        nothing_sent(peer)


@pytest.mark.parametrize(
    "recipient",
    ["me", "me@new.example> SIZE=1", "me@new.example\r\nDATA", "Me <me@new.example>", "a@b.example,c@d.example"],
)
def test_what_is_no_address_never_leaves(archive_dir: Path, recipient: str) -> None:
    fill(archive_dir, LETTERS)
    with SmtpPeer(SMTP) as peer:
        refused(asked(url(peer), archive_dir, "--rcpt", recipient), USAGE, "--rcpt", "is no address")
        refused(asked(url(peer), archive_dir, "--rcpt", ONE, "--mail-from", recipient), USAGE, "--mail-from")
        nothing_sent(peer)


def test_one_recipient_in_two_spellings_is_one(archive_dir: Path) -> None:
    fill(archive_dir, LETTERS)
    with SmtpPeer(LMTP) as peer:
        assert_all_there(relayed(peer, archive_dir, to=["one@NEW.example", ONE]), peer, LETTERS)
        again = relayed(peer, archive_dir, to=["one@New.Example"])
        assert (again.code, again.json()["delivered"], again.json()["already_there"]) == (COMPLETE, 0, 5), again


def test_a_domain_goes_out_in_ascii_and_a_user_in_utf8_only_where_that_is_offered(archive_dir: Path) -> None:
    fill(archive_dir, LETTERS[:1])
    with SmtpPeer(SmtpQuirks(extensions=without("SMTPUTF8"))) as peer:
        result = relayed(peer, archive_dir, to=["jörg@new.example"])
        assert result.code == CONFIGURATION and "jörg@new.example" in result.stderr and "SMTPUTF8" in result.stderr
        nothing_sent(peer)
        assert relayed(peer, archive_dir, to=["one@bücher.example"]).code == COMPLETE
        assert lines(peer, "RCPT TO") == {"one@xn--bcher-kva.example"}
    with SmtpPeer(SMTP) as peer:
        assert relayed(peer, archive_dir, to=["jörg@new.example"]).code == COMPLETE
        assert [recipient.encode("latin-1").decode() for recipient, _ in peer.arrived] == ["jörg@new.example"]
        assert peer.violations == []


def test_options_of_smtp_mean_nothing_to_imap(archive_dir: Path) -> None:
    fill(archive_dir, LETTERS)
    for option in (
        ["--rcpt", ONE],
        ["--mail-from", ONE],
        ["--resent"],
        ["--original-recipients"],
        ["--max-rate", "1/s"],
    ):
        refused(asked(f"imaps://me@{HOST}:9", archive_dir, *option), USAGE, option[0])


# ---- the reverse path


@pytest.mark.parametrize(
    ("quirks", "user", "more", "path"),
    [
        (SMTP, USER, (), USER),
        (SMTP, USER, ("--mail-from", TWO), TWO),
        (SMTP, USER, ("--mail-from", "<>"), ""),
        (SMTP, "", ("--mail-from", TWO), TWO),
        (LMTP, "", (), ""),
        (LMTP, "", ("--mail-from", TWO), TWO),
    ],
)
def test_who_gets_what_cannot_be_delivered(
    archive_dir: Path, quirks: SmtpQuirks, user: str, more: Sequence[str], path: str
) -> None:
    fill(archive_dir, LETTERS)
    with SmtpPeer(quirks) as peer:
        secret = PASSWORD_FROM_ENV if user else ()
        result = mailmove(
            "replay", url(peer, user), "-a", archive_dir, "--json", "--allow-plaintext", *secret, "--rcpt", ONE, *more
        )
        peer.wait()
        assert result.code == COMPLETE, result
        assert lines(peer, "MAIL FROM") == {path} and len(peer.arrived) == 5


@pytest.mark.parametrize("user", ["me", ""])
def test_a_sender_is_not_made_up(archive_dir: Path, user: str) -> None:
    fill(archive_dir, LETTERS)
    with SmtpPeer(SMTP) as peer:
        refused(asked(url(peer, user), archive_dir, "--rcpt", ONE), USAGE, "--mail-from ADDRESS", "--mail-from '<>'")
        nothing_sent(peer)


# ---- --resent


RESENT = re.compile(
    rb"Resent-Date: [^\r\n]+ \+0000\r\nResent-From: me@old\.example\r\nResent-To: ([^\r\n]+)\r\n"
    rb"Resent-Message-ID: <[^\r\n]+@old\.example>\r\n"
)


def test_resent_fields_stand_above_messages_that_are_what_they_were(archive_dir: Path) -> None:
    bare = b"no header at all: none\r\n"
    mbox = b"From you Mon Jan  5 10:00:00 2026\r\n" + letter("mbox")
    fill(archive_dir, [*LETTERS, bare, mbox])
    with SmtpPeer(SMTP) as peer:
        result = relayed(peer, archive_dir, "--resent")
        assert (result.code, result.json()["delivered"]) == (COMPLETE, 7), result
        below = []
        for recipient, octets in peer.arrived:
            block = RESENT.match(octets)
            assert block and block[1].decode() == recipient == ONE, octets[:300]
            below.append(octets[block.end() :])
        assert sorted(below) == sorted([*LETTERS, mbox, b"\r\n" + bare])
        assert peer.violations == []


def test_without_it_nothing_is_added(archive_dir: Path) -> None:
    fill(archive_dir, LETTERS)
    with SmtpPeer(SMTP) as peer:
        assert_all_there(relayed(peer, archive_dir), peer, LETTERS)
        assert sorted(octets for _, octets in peer.arrived) == sorted(LETTERS)


# ---- the loop guard


def test_what_was_at_the_recipients_before_is_parked_for_that_one_alone(archive_dir: Path) -> None:
    loop = letter("loop", f"Delivered-To: {ONE.upper()}", "Received: from a by b; Mon, 5 Jan 2026 10:00:00 +0100")
    fill(archive_dir, [*LETTERS, loop])
    with SmtpPeer(LMTP) as peer:
        result = relayed(peer, archive_dir, to=[ONE, TWO])
        assert_accounted(result, peer.arrived, [*LETTERS, loop], [ONE, TWO])
        report = result.json()
        assert (result.code, report["delivered"], report["parked"]) == (PARTIAL, 11, 1), result
        assert named(report, "parked") == pairs([loop])
        (parked,) = [one for one in report["exceptions"] if one["kind"] == "parked"]
        assert "Delivered-To" in parked["reason"], parked
        assert archives.rows(archive_dir, "SELECT cause FROM deliveries WHERE state = 'parked'") == [("loop",)]
        assert relayed(peer, archive_dir, "--retry-parked", to=[ONE, TWO]).json()["parked"] == 1
        meant = relayed(peer, archive_dir, "--retry-parked", "--no-loop-guard", to=[ONE, TWO])
        assert (meant.code, meant.json()["delivered"], meant.json()["already_there"]) == (COMPLETE, 1, 11), meant
        assert sorted(octets for recipient, octets in peer.arrived if recipient == ONE) == sorted([*LETTERS, loop])


def test_what_went_round_for_long_is_parked(archive_dir: Path) -> None:
    hops = letter("hops", *["Received: from a by b; Mon, 5 Jan 2026 10:00:00 +0100"] * 51)
    fill(archive_dir, [*LETTERS, hops])
    with SmtpPeer(LMTP) as peer:
        result = relayed(peer, archive_dir)
        assert (result.code, named(result.json(), "parked")) == (PARTIAL, pairs([hops])), result
        assert_accounted(result, peer.arrived, [*LETTERS, hops])


# ---- --max-rate


def test_the_day_is_over_after_so_many_and_the_next_run_knows(archive_dir: Path) -> None:
    fill(archive_dir, LETTERS)
    with SmtpPeer(LMTP) as peer:
        for delivered, there in ((3, 0), (0, 3)):
            result = relayed(peer, archive_dir, "--max-rate", "3/day")
            report = result.json()
            assert (result.code, report["delivered"], report["already_there"]) == (LATER, delivered, there), result
            assert report["pending"] == 2 and re.search(
                r"3 messages a day .*; run again after \d\d:\d\d UTC", result.stderr
            )
            assert_accounted(result, peer.arrived, LETTERS)
        more = relayed(peer, archive_dir, "--max-rate", "4/day")
        assert (more.code, more.json()["delivered"]) == (LATER, 1), more
        assert_all_there(relayed(peer, archive_dir, "--max-rate", "none"), peer, LETTERS)


def test_each_recipient_counts(archive_dir: Path) -> None:
    fill(archive_dir, LETTERS)
    with SmtpPeer(LMTP) as peer:
        result = relayed(peer, archive_dir, "--max-rate", "4/day", to=[ONE, TWO])
        assert (result.code, result.json()["delivered"], result.json()["pending"]) == (LATER, 4, 6), result
        assert_accounted(result, peer.arrived, LETTERS, [ONE, TWO])


def test_a_short_limit_is_waited_for_and_said_to_be(archive_dir: Path) -> None:
    """Each message counts for three, so that the second has to wait for three seconds."""
    fill(archive_dir, LETTERS[:2])
    with SmtpPeer(LMTP) as peer:
        result = relayed(peer, archive_dir, "--max-rate", "1/s", to=[ONE, TWO, USER])
        assert_all_there(result, peer, LETTERS[:2], [ONE, TWO, USER])
        assert "--max-rate" in result.stderr, result


@pytest.mark.parametrize("rate", ["fast", "0/s", "3/week"])
def test_what_is_no_rate(archive_dir: Path, rate: str) -> None:
    fill(archive_dir, LETTERS)
    with SmtpPeer(LMTP) as peer:
        refused(relayed(peer, archive_dir, "--max-rate", rate), USAGE, "--max-rate", repr(rate))
        nothing_sent(peer)


# ---- --original-recipients


ADDRESSED = [
    letter("a", "To: Anna <anna@x.example>, me@old.example"),
    letter("b", "To: anna@x.example", "Bcc: ben@y.example"),
    letter("c", "Cc: group: anna@x.example;, =?utf-8?q?Ben?= <ben@y.example>"),
]
MAILS = {("anna@x.example", n) for n in range(3)} | {(USER, 0), ("ben@y.example", 1), ("ben@y.example", 2)}


def originally(peer: SmtpPeer, archive: Path, *more: object) -> Result:
    result = asked(url(peer), archive, "--original-recipients", *more)
    peer.wait()
    return result


def test_each_message_goes_to_whom_it_names_and_to_nobody_else(archive_dir: Path) -> None:
    fill(archive_dir, ADDRESSED)
    with SmtpPeer(SMTP) as peer:
        result = originally(peer, archive_dir, "--yes")
        assert (result.code, result.json()["selected"], result.json()["delivered"]) == (COMPLETE, 6, 6), result
        assert sorted(peer.arrived) == sorted((who, ADDRESSED[n]) for who, n in MAILS)
        again = originally(peer, archive_dir, "--yes")
        assert (again.code, again.json()["already_there"], len(peer.arrived)) == (COMPLETE, 6, 6), again


def test_it_is_refused_where_nobody_answers_for_it(archive_dir: Path) -> None:
    fill(archive_dir, ADDRESSED)
    with SmtpPeer(SMTP) as peer:
        refused(originally(peer, archive_dir), USAGE, "not confirmed", "2 of the addresses are strangers", "--yes")
        refused(originally(peer, archive_dir, "--yes", "--rcpt", ONE), USAGE, "--original-recipients", "--rcpt")
        anonymous = asked(url(peer, ""), archive_dir, "--original-recipients", "--yes", "--mail-from", USER)
        assert anonymous.code == CONFIGURATION and "logged in" in anonymous.stderr, anonymous
        nothing_sent(peer)


@pytest.mark.parametrize(("typed", "code"), [("2\n", COMPLETE), ("3\n", USAGE), ("y\n", USAGE), ("\n", USAGE)])
def test_on_a_terminal_the_number_of_strangers_must_be_typed_in(archive_dir: Path, typed: str, code: int) -> None:
    fill(archive_dir, ADDRESSED)
    ours, theirs = pty.openpty()
    try:
        os.write(ours, typed.encode())
        with SmtpPeer(SMTP) as peer:
            command = ("replay", url(peer), "-a", archive_dir, "--allow-plaintext", *PASSWORD_FROM_ENV)
            result = finish(start_mailmove(*command, "--original-recipients", stdin=theirs))
            peer.wait()
            assert result.code == code and "Type 2, the number of strangers" in result.stderr, result
            assert len(peer.arrived) == (6 if code == COMPLETE else 0)
    finally:
        os.close(ours)
        os.close(theirs)


def test_who_is_named_by_nothing_gets_nothing_and_that_is_told(archive_dir: Path) -> None:
    nobody = letter("nobody", "To: undisclosed-recipients:;")
    fill(archive_dir, [*ADDRESSED, nobody])
    with SmtpPeer(SMTP) as peer:
        for more, delivered, there, sent in (("--dry-run", 0, 0, 0), ("-q", 6, 0, 6), ("-q", 0, 6, 6)):
            result = originally(peer, archive_dir, "--yes", more)
            report = result.json()
            assert (result.code, report["selected"], report["skipped"]) == (COMPLETE, 7, 1), result
            assert (report["delivered"], report["already_there"], len(peer.arrived)) == (delivered, there, sent)
            (one,) = report["exceptions"]
            assert (one["kind"], one["digest"]) == ("skipped", archives.digest(nobody))
        assert nobody not in {octets for _, octets in peer.arrived}


def test_a_damaged_message_is_named_and_the_others_go(archive_dir: Path) -> None:
    fill(archive_dir, ADDRESSED)
    alter(Layout(archive_dir, archive_dir).message(Digest(archives.digest(ADDRESSED[0]))))
    with SmtpPeer(SMTP) as peer:
        result = originally(peer, archive_dir, "--yes")
        report = result.json()
        assert (result.code, report["selected"], report["delivered"], report["parked"]) == (4, 5, 4, 1), result
        assert [(one["kind"], one["digest"]) for one in report["exceptions"]] == [
            ("damaged", archives.digest(ADDRESSED[0]))
        ]
