"""A run over SMTP or LMTP, whatever the server says: each message for each recipient has exactly one fate.

Strategy: real archives, a server in this process (fake_relay.py), and the promise itself: what arrived, what the report
says, what the log says, and what the next run does. Every archive is rebuilt at the end, and must be what it was.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mailmove.errors import ProtocolError, UsageError
from mailmove.jobs import RelayJob
from mailmove.jobs.relay import run_relay
from mailmove.jobs.relay_report import RelayReport
from mailmove.model import Body, Reply
from mailmove.repairs import Repair
from mailmove.targets import Parcel, RelayTraits
from tests.support import archives
from tests.support.replaying import assert_adds_up, fill
from tests.unit.archive.making import assert_rebuilds
from tests.unit.fake_relay import EVERYTHING, GOOD, Busy, FakeServer, Lost, Surroundings, takes_all

ONE, TWO, THREE = "one@new.example", "two@new.example", "three@new.example"
TARGET = "smtp://me@mail.example"
LATER, NEVER = Reply(450, "4.2.0", "greylisted"), Reply(550, "5.1.1", "unknown user")


def messages(count: int) -> list[bytes]:
    return [b"Subject: %d\r\n\r\nhello\r\n" % number for number in range(count)]


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Path]:
    """An archive of 12 messages; at the end its catalogue is what its log says."""
    root = fill(tmp_path / "a.mailmove", messages(12))
    yield root
    assert_rebuilds(root)


def job(archive: Path, *to: str, **more: Any) -> RelayJob:
    return RelayJob(TARGET, TARGET, archive, to or (ONE,), sender="me@mail.example", **more)


def run(server: FakeServer, this: RelayJob) -> RelayReport:
    report = run_relay(this, Surroundings(server))
    assert_adds_up(report.counts())
    return report


def counts(report: RelayReport) -> dict[str, int]:
    """The terms that are not 0."""
    terms = ("delivered", "already_there", "skipped", "parked", "uncertain", "pending")
    return {term: report.counts()[term] for term in terms if report.counts()[term]}


def once(*to: str, of: list[bytes] | None = None) -> Counter[tuple[str, bytes]]:
    return Counter(itertools.product(to, messages(12) if of is None else of))


# ---- all is well


def test_each_message_goes_once_to_each_recipient_in_one_transaction_and_never_again(archive: Path) -> None:
    server = FakeServer()
    report = run(server, job(archive, ONE, TWO))
    assert (report.exit_code, counts(report)) == (0, {"delivered": 24})
    assert server.inboxes == once(ONE, TWO)
    assert server.transactions == [(ONE, TWO)] * 12
    assert [octets for to, octets in server.arrived if to == ONE] == messages(12), "the order of the archive"
    again = run(server, job(archive, ONE, TWO))
    assert (again.exit_code, counts(again), len(server.transactions)) == (0, {"already_there": 24}, 12)


def test_who_comes_later_gets_what_is_lacking_and_the_others_nothing(archive: Path) -> None:
    server = FakeServer()
    run(server, job(archive, ONE, limit=5))
    report = run(server, job(archive, ONE, TWO))
    assert counts(report) == {"delivered": 19, "already_there": 5}
    assert server.transactions[5:] == [(TWO,)] * 5 + [(ONE, TWO)] * 7
    assert server.inboxes == once(ONE, TWO)


def test_the_log_names_target_recipient_and_code(archive: Path) -> None:
    run(FakeServer(), job(archive, ONE, TWO))
    found = [one for one in archives.records(archive) if one["t"] == "deliver"]
    assert {(one["target"], one["mailbox"], one["code"]) for one in found} == {
        (TARGET, ONE, "250 2.0.0"),
        (TARGET, TWO, "250 2.0.0"),
    }
    assert not archives.unsettled(archive)
    rows = archives.rows(archive, "SELECT DISTINCT state, code, how FROM deliveries")
    assert rows == [("delivered", "250 2.0.0", "append")]


def test_the_limit_is_of_messages_each_to_all_its_recipients(archive: Path) -> None:
    server = FakeServer()
    report = run(server, job(archive, ONE, TWO, limit=3))
    assert (report.exit_code, counts(report)) == (0, {"delivered": 6, "skipped": 18})
    assert server.inboxes == once(ONE, TWO, of=messages(3))
    assert [(one.kind, one.count) for one in report.exceptions] == [("limit", 18)]


def test_identical_copies_go_once_or_as_often_as_they_came(tmp_path: Path) -> None:
    root = fill(tmp_path / "a.mailmove", messages(2) * 3)
    server = FakeServer()
    report = run(server, job(root, ONE, TWO))
    assert (counts(report), report.duplicate_content) == ({"delivered": 4}, 8)
    again = run(server, job(root, ONE, TWO, keep_duplicates=True))
    assert counts(again) == {"delivered": 8, "already_there": 4}
    assert server.inboxes == Counter(dict.fromkeys(itertools.product((ONE, TWO), messages(2)), 3))


# ---- refusals


def only(recipient: str, *numbers: int, reply: Reply = NEVER) -> Callable[[str, bytes], Reply]:
    """This reply for these messages (or all) to one recipient."""
    chosen = [messages(12)[number] for number in numbers] or messages(12)
    return lambda to, octets: reply if to == recipient and octets in chosen else GOOD


def test_what_one_recipient_is_refused_the_others_get(archive: Path) -> None:
    server = FakeServer(only(TWO, 3, 4))
    report = run(server, job(archive, ONE, TWO))
    assert (report.exit_code, counts(report)) == (3, {"delivered": 22, "parked": 2})
    assert server.inboxes == once(ONE, TWO) - once(TWO, of=messages(12)[3:5])
    (first, second) = report.exceptions
    assert (first.kind, first.mailbox, first.server_text) == ("parked", TWO, "550 5.1.1 unknown user")
    assert {first.digest, second.digest} == set(map(archives.digest, messages(12)[3:5]))
    parked = [one for one in archives.records(archive) if one["t"] == "park"]
    assert {(one["mailbox"], one["cause"], one["code"]) for one in parked} == {(TWO, "no-such-user", "550 5.1.1")}


def test_what_is_parked_stays_so_and_is_named_until_it_is_asked_for(archive: Path) -> None:
    server = FakeServer(only(ONE, 3))
    run(server, job(archive))
    server.verdict = lambda to, octets: GOOD
    later = run(server, job(archive))
    assert (later.exit_code, counts(later)) == (3, {"already_there": 11, "parked": 1})
    assert later.exceptions[0].server_text == "550 5.1.1 unknown user"
    last = run(server, job(archive, retry_parked=True))
    assert (last.exit_code, counts(last)) == (0, {"already_there": 11, "delivered": 1})
    assert server.inboxes == once(ONE)


def test_what_is_refused_again_is_not_tried_a_third_time_in_the_same_run(archive: Path) -> None:
    server = FakeServer(only(ONE, 3))
    run(server, job(archive))
    report = run(server, job(archive, retry_parked=True))
    assert counts(report) == {"already_there": 11, "parked": 1}
    assert len(server.transactions) == 12 + 1


# ---- put off


def test_what_is_put_off_goes_again_after_all_others(archive: Path) -> None:
    answers = {messages(12)[2]: iter([LATER, LATER, GOOD])}
    server = FakeServer(lambda to, octets: next(answers.get(octets, iter([GOOD]))))
    around = Surroundings(server)
    report = run_relay(job(archive), around)
    assert (report.exit_code, counts(report)) == (0, {"delivered": 12})
    assert server.arrived[-1] == (ONE, messages(12)[2])
    assert around.slept == [1.0, 4.0], "longer each time"
    assert any("put off" in note for note in around.notes)


def test_what_is_put_off_for_ever_is_pending_and_the_next_run_s(archive: Path) -> None:
    server = FakeServer(only(TWO, 5, reply=LATER))
    around = Surroundings(server)
    report = run_relay(job(archive, ONE, TWO, patience=10.0), around)
    assert (report.exit_code, counts(report)) == (75, {"delivered": 23, "pending": 1})
    assert sum(around.slept) == 10.0
    assert [(one.kind, one.mailbox, one.server_text) for one in report.exceptions] == [
        ("pending", TWO, "450 4.2.0 greylisted")
    ]
    assert report.error is not None and "450 4.2.0 greylisted" in report.error.message
    assert not archives.unsettled(archive)
    server.verdict = lambda to, octets: GOOD
    assert counts(run(server, job(archive, ONE, TWO))) == {"already_there": 23, "delivered": 1}
    assert server.inboxes == once(ONE, TWO)


def test_a_server_that_puts_everything_off_is_not_asked_for_everything(tmp_path: Path) -> None:
    root = fill(tmp_path / "a.mailmove", messages(300))
    server = FakeServer(lambda to, octets: LATER)
    report = run(server, job(root, patience=1.0, window_messages=8))
    assert (report.exit_code, counts(report)) == (75, {"pending": 300})
    assert len(server.transactions) < 2 * (20 + 8 + 1), "two rounds, each of some in a row and what was under way"


# ---- too many recipients


@pytest.mark.parametrize("late", [Reply(452, "4.5.3", "too many recipients"), Reply(452, "", "Too many recipients")])
def test_who_came_too_late_gets_a_transaction_at_once_and_the_next_are_smaller(archive: Path, late: Reply) -> None:
    to = tuple(f"r{number}@new.example" for number in range(7))
    server = FakeServer()
    server.verdict = lambda one, octets: GOOD if one in server.transactions[-1][:3] else late
    around = Surroundings(server)
    report = run_relay(job(archive, *to), around)
    assert (report.exit_code, counts(report)) == (0, {"delivered": 84})
    assert server.inboxes == once(*to)
    assert around.slept == []
    assert set(map(len, server.transactions[-9:])) <= {1, 3}


# ---- sessions that break


def test_what_was_not_wholly_sent_goes_again(archive: Path) -> None:
    breaks = iter([True])

    def verdict(to: str, octets: bytes) -> Reply:
        if octets == messages(12)[4] and next(breaks, False):
            raise Lost
        return GOOD

    server = FakeServer(verdict)
    report = run(server, job(archive))
    assert (report.exit_code, counts(report), report.retries) == (0, {"delivered": 12}, 1)
    assert server.inboxes == once(ONE)


def test_what_was_sent_and_not_answered_is_uncertain_and_never_sent_again_unasked(archive: Path) -> None:
    breaks = iter([True])

    def verdict(to: str, octets: bytes) -> Reply:
        if octets == messages(12)[4] and next(breaks, False):
            raise Lost(sent=True)
        return GOOD

    server = FakeServer(verdict)
    digest = archives.digest(messages(12)[4])
    for _ in range(2):
        report = run(server, job(archive))
        assert (report.exit_code, report.counts()["uncertain"]) == (3, 1)
        assert [(one.kind, one.digest, one.mailbox) for one in report.exceptions] == [("uncertain", digest, ONE)]
    assert len(server.arrived) == 11
    last = run(server, job(archive, resend_uncertain=True))
    assert (last.exit_code, counts(last)) == (0, {"already_there": 11, "delivered": 1})
    assert server.inboxes == once(ONE)


def test_a_message_in_which_the_connection_always_breaks_is_parked_and_the_others_go(archive: Path) -> None:
    def verdict(to: str, octets: bytes) -> Reply:
        if octets == messages(12)[4]:
            raise Lost
        return GOOD

    server = FakeServer(verdict)
    report = run(server, job(archive))
    assert (report.exit_code, counts(report)) == (3, {"delivered": 11, "parked": 1})
    assert report.exceptions[-1].digest == archives.digest(messages(12)[4])
    assert server.inboxes == once(ONE) - once(ONE, of=[messages(12)[4]])


def test_so_is_one_that_breaks_it_before_any_of_its_octets_are_asked_for(tmp_path: Path) -> None:
    worst = b"Subject: x\r\n\r\n" + b"x" * 500 + b"\r\n"
    root = fill(tmp_path / "a.mailmove", [*messages(3), worst, *messages(6)[3:]])

    def before(parcel: Parcel) -> None:
        if parcel.octets == len(worst):
            raise Lost

    server = FakeServer(before=before)
    report = run(server, job(root))
    assert (report.exit_code, counts(report)) == (3, {"delivered": 6, "parked": 1})
    assert [one.digest for one in report.exceptions] == [archives.digest(worst)]


def test_after_an_answer_out_of_step_the_next_session_goes_one_by_one(archive: Path) -> None:
    breaks = iter([True])

    def verdict(to: str, octets: bytes) -> Reply:
        if next(breaks, False):
            raise ProtocolError("The server has lost count.")
        return GOOD

    server = FakeServer(verdict)
    run(server, job(archive))
    assert [one.window_messages for one in server.jobs] == [0, 1]


def test_what_the_server_ends_sessions_over_comes_behind_all_others(archive: Path) -> None:
    """P8: it asks for patience whenever it sees this message, and gets it; the others do not wait for that."""

    def verdict(to: str, octets: bytes) -> Reply:
        if octets == messages(12)[4]:
            raise Busy
        return GOOD

    server = FakeServer(verdict)
    report = run(server, job(archive))
    assert (report.exit_code, counts(report)) == (75, {"delivered": 11, "pending": 1})
    assert server.inboxes == once(ONE) - once(ONE, of=[messages(12)[4]])
    assert [(one.kind, one.digest) for one in report.exceptions] == [("pending", archives.digest(messages(12)[4]))]


class PowerCut(BaseException):
    """The end of the process, as far as an archive can see."""


@pytest.mark.parametrize("rebuilt", [False, True])
def test_after_a_crash_what_was_under_way_is_uncertain_whatever_became_of_the_database(
    tmp_path: Path, rebuilt: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, server = fill(tmp_path / "a.mailmove", messages(60)), FakeServer()

    def cut(*words: object) -> None:
        raise PowerCut

    def verdict(to: str, octets: bytes) -> Reply:
        if octets == messages(60)[25]:
            raise PowerCut
        return GOOD

    server.verdict = verdict

    with monkeypatch.context() as patch:
        patch.setattr("mailmove.jobs.relay_account.RelayAccount.write", cut)
        patch.setattr("mailmove.jobs.relay.RelayRun._end", cut)
        with pytest.raises(PowerCut):
            run_relay(job(archive, ONE, TWO, window_messages=16), Surroundings(server))
    under_way = archives.unsettled(archive)
    assert server.arrived
    assert 0 < under_way.total() <= 2 * 16, "no more than may be under way, for each recipient"
    if rebuilt:
        (archive / "archive.db").unlink()
    before, server.verdict = len(server.transactions), takes_all
    report = run(server, job(archive, ONE, TWO))
    assert report.exit_code == 3
    named = Counter((one.digest, one.kind) for one in report.exceptions)
    assert named == Counter((digest, "uncertain") for _, digest in under_way.elements())
    assert not archives.unsettled(archive)
    assert max(server.inboxes.values()) == 1, "nothing twice"
    assert len(server.transactions) > before, "the others go"
    last = run(server, job(archive, ONE, TWO, resend_uncertain=True))
    assert last.exit_code == 0
    assert set(server.inboxes) == set(once(ONE, TWO, of=messages(60))), "nothing lost"
    assert_rebuilds(archive)


def test_ctrl_c_takes_back_what_was_not_sent(archive: Path) -> None:
    server = FakeServer()
    around = Surroundings(server)
    around.ok = lambda: len(server.transactions) < 1
    report = run_relay(job(archive), around)
    assert report.exit_code == 130
    assert not archives.unsettled(archive)
    assert report.counts()["uncertain"] == 0
    assert report.counts()["delivered"] == len(server.arrived)
    assert counts(run(server, job(archive)))["already_there"] == len(once(ONE)) - (12 - report.counts()["delivered"])
    assert server.inboxes == once(ONE)


# ---- what no such server would take


LINES = RelayTraits(pipelining=True, chunking=True, eight_bit=True, largest=200)


@pytest.mark.parametrize(
    ("octets", "traits", "cause"),
    [
        (b"", EVERYTHING, "empty"),
        (b"Subject: x\r\n\r\n" + b"x" * 300 + b"\r\n", LINES, "size"),
        (b"Subject: x\r\n\r\na\nb\r\n", LINES, "bare-newlines"),
        (b"Subject: x\r\n\r\na\0b\r\n", LINES, "nul"),
        (b"Subject: x\r\n\r\n\xe4\r\n", RelayTraits(), "8bit"),
        (b"Subject: x\r\n\r\na\0b\r\n", RelayTraits(eight_bit=True, binary=True), "nul"),
        (b"Delivered-To: one@new.example\r\n\r\nx\r\n", EVERYTHING, "loop"),
        (b"Received: x\r\n" * 51 + b"\r\nx\r\n", EVERYTHING, "loop"),
    ],
)
def test_what_would_not_arrive_as_it_is_is_parked_and_never_sent(
    tmp_path: Path, octets: bytes, traits: RelayTraits, cause: str
) -> None:
    root = fill(tmp_path / "a.mailmove", [octets, *messages(1)])
    server = FakeServer(traits=traits)
    report = run(server, job(root))
    assert (report.exit_code, counts(report)) == (3, {"delivered": 1, "parked": 1})
    assert server.arrived == [(ONE, messages(1)[0])]
    assert [one["cause"] for one in archives.records(root) if one["t"] == "park"] == [cause]
    assert_rebuilds(root)


def test_with_binarymime_everything_goes_as_it_is(tmp_path: Path) -> None:
    mails = [b"Subject: x\r\n\r\na\nb\r\n", b"Subject: x\r\n\r\n\0\r\n", b"Subject: x\r\n\r\n\xe4\r\n", messages(1)[0]]
    server = FakeServer()
    assert run(server, job(fill(tmp_path / "a.mailmove", mails))).exit_code == 0
    assert [octets for _, octets in server.arrived] == mails
    assert [one.body for one in server.parcels] == [Body.BINARY, Body.BINARY, Body.EIGHT_BIT, Body.SEVEN_BIT]


def test_a_repair_is_made_for_whom_it_was_refused_and_told(tmp_path: Path) -> None:
    root = fill(tmp_path / "a.mailmove", [b"Subject: x\r\n\r\na\nb\r\n"])
    server = FakeServer(traits=LINES)
    run(server, job(root, ONE, TWO))
    repairs = frozenset([Repair.BARE_NEWLINES])
    report = run(server, job(root, ONE, TWO, retry_parked=True, repairs=repairs))
    assert (report.exit_code, counts(report)) == (0, {"delivered": 2})
    assert server.arrived == [(to, b"Subject: x\r\n\r\na\r\nb\r\n") for to in (ONE, TWO)]
    assert {one.kind for one in report.exceptions} == {"repaired"}
    assert_rebuilds(root)


def test_no_loop_guard_lets_it_through(tmp_path: Path) -> None:
    octets = b"Delivered-To: one@new.example\r\n\r\nx\r\n"
    server = FakeServer()
    run(server, job(fill(tmp_path / "a.mailmove", [octets]), loop_guard=False))
    assert server.arrived == [(ONE, octets)]


def test_resent_fields_stand_above_the_message_which_is_otherwise_untouched(archive: Path) -> None:
    server = FakeServer()
    run(server, job(archive, ONE, TWO, resent=True, limit=1))
    (octets,) = {octets for _, octets in server.arrived}
    assert octets.startswith(b"Resent-Date: ") and octets.endswith(messages(1)[0])
    assert b"Resent-From: me@mail.example\r\nResent-To: one@new.example, two@new.example\r\n" in octets


# ---- limits


def test_the_daily_limit_stops_the_run_and_the_next_day_goes_on(archive: Path) -> None:
    server = FakeServer()
    report = run(server, job(archive, daily_limit=5 * len(messages(1)[0])))
    assert (report.exit_code, counts(report)) == (75, {"delivered": 5, "pending": 7})


def test_a_rate_is_kept_and_the_wait_is_told(archive: Path) -> None:
    server = FakeServer()
    around = Surroundings(server)
    report = run_relay(job(archive, max_rate="5/min"), around)
    assert (report.exit_code, counts(report)) == (0, {"delivered": 12})
    assert sum(around.slept) >= 60.0
    assert any("--max-rate" in note for note in around.notes)


def test_a_long_wait_ends_the_session_in_between(archive: Path) -> None:
    server = FakeServer()
    report = run_relay(job(archive, max_rate="10/h"), Surroundings(server))
    assert (report.exit_code, counts(report), report.sessions) == (0, {"delivered": 12}, 2)


# ---- whom the messages name


def test_original_recipients_are_confirmed_and_each_gets_what_names_it(tmp_path: Path) -> None:
    mails = [
        b"To: one@new.example, two@new.example\r\n\r\n1\r\n",
        b"Cc: two@new.example\r\n\r\n2\r\n",
        b"To: \r\n\r\n3\r\n",
    ]
    root = fill(tmp_path / "a.mailmove", mails)
    server = FakeServer()
    this = RelayJob(TARGET, TARGET, root, (), sender="me@mail.example", original_recipients=True)
    with pytest.raises(UsageError):
        run_relay(this, Surroundings(server))
    assert server.transactions == []
    around = Surroundings(server)
    asked: list[tuple[str, str]] = []
    around.confirm = lambda question, answer: not asked.append((question, answer))
    report = run_relay(this, around)
    assert (report.exit_code, counts(report)) == (0, {"delivered": 3, "skipped": 1})
    assert [answer for _, answer in asked] == ["2"]
    assert server.inboxes == Counter([(ONE, mails[0]), (TWO, mails[0]), (TWO, mails[1])])
    assert server.transactions == [(ONE, TWO), (TWO,)]
    assert [one.digest for one in report.exceptions if one.kind == "skipped"] == [archives.digest(mails[2])]
    assert_rebuilds(root)


# ---- a dry run


def test_a_dry_run_counts_and_sends_nothing(archive: Path) -> None:
    server = FakeServer(only(ONE, 3))
    run(server, job(archive, limit=6))
    before = archives.records(archive)
    report = run(server, job(archive, ONE, TWO, dry_run=True, limit=10))
    assert counts(report) == {"already_there": 5, "parked": 1, "pending": 14, "skipped": 4}
    assert report.messages == 10
    assert archives.records(archive) == before and len(server.transactions) == 6
    assert report.as_dict()["offers"]
