"""What is said when, by what the server offers, and what the replies mean for each recipient."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from mailmove.errors import LocalProtocolError
from mailmove.model import Body
from mailmove.protocols.smtp import LARGE, NEED_DATA, Conversation, Offers
from tests.unit.smtp.referee import Answers, Letter, Referee, talk

CHUNKING = Offers(pipelining=True, chunking=True, eight_bit=True, binary=True)
PIPELINING = Offers(pipelining=True)
CHUNKS_ONE_BY_ONE = Offers(chunking=True)
NEITHER = Offers()
WAYS = [CHUNKING, PIPELINING, CHUNKS_ONE_BY_ONE, NEITHER]
LMTP = [Offers(True, offers.pipelining, offers.chunking, offers.eight_bit, offers.binary) for offers in WAYS]
NAMES = ["chunking", "pipelining", "chunks one by one", "neither"]
every_way = pytest.mark.parametrize("offers", WAYS + LMTP, ids=NAMES + [f"lmtp {name}" for name in NAMES])
HOSTS = ("a@x", "b@x", "c@x")


def letters(count: int, *recipients: str) -> list[Letter]:
    texts = [(b"Subject: %d\r\n\r\n." % number, b"\r\n..\r", b"\n.\r\nend\r\n") for number in range(count)]
    return [Letter(text, recipients or ("new@example.org",)) for text in texts]


def answers(*refusals: tuple[str, int, str]) -> Answers:
    """These commands get these answers, all others a yes."""
    known = {(verb, number): answer for verb, number, answer in refusals}
    return lambda verb, number: known.get((verb, number), "")


def outcome(  # type: ignore[no-untyped-def]
    offers: Offers,
    given: list[Letter],
    *refusals: tuple[str, int, str],
    gullible: bool = False,
    strays: Sequence[bytes] = (),
):
    """The codes each recipient got, and what was delivered: the same however octets are cut, and never a stranger."""
    told = []
    for seed in (None, 1, 2, 3):
        referee = Referee(offers.lmtp, answers(*refusals), gullible)
        done = talk(offers, referee, given, seed=seed)
        assert done.error is None
        assert referee.strangers in ([], list(strays))
        assert [one.mail for one in done.outcomes] == given
        told.append((done.codes, referee.delivered))
    assert all(one == told[0] for one in told)
    return told[0]


@every_way
def test_every_octet_arrives_for_every_recipient(offers: Offers) -> None:
    given = [*letters(5, "a@x", "b@x"), Letter((b"",)), Letter((b".\r\n",)), *letters(3)]
    codes, delivered = outcome(offers, given)
    assert codes == [dict.fromkeys(letter.recipients, 250) for letter in given]
    assert delivered == [(recipient, letter.whole) for letter in given for recipient in letter.recipients]


@every_way
def test_each_recipient_has_its_own_word(offers: Offers) -> None:
    codes, delivered = outcome(offers, letters(2, *HOSTS), ("RCPT", 1, "550 5.1.1 who?"), ("RCPT", 5, "452 4.5.3 many"))
    assert codes == [{"a@x": 250, "b@x": 550, "c@x": 250}, {"a@x": 250, "b@x": 250, "c@x": 452}]
    assert [recipient for recipient, _ in delivered] == ["a@x", "c@x", "a@x", "b@x"]


@every_way
@pytest.mark.parametrize(
    "refusal", [("MAIL", 1, "550 no"), ("RCPT", 1, "550 no"), ("final", 1, "550 no")], ids=lambda refusal: refusal[0]
)
def test_one_refused_message_stops_no_other(offers: Offers, refusal: tuple[str, int, str]) -> None:
    given = letters(6)
    codes, delivered = outcome(offers, given, refusal)
    assert [code["new@example.org"] for code in codes] == [250, 550, 250, 250, 250, 250]
    assert [octets for _, octets in delivered] == [letter.whole for letter in given if letter is not given[1]]


@every_way
def test_a_refused_mail_is_the_word_for_all_its_recipients(offers: Offers) -> None:
    codes, delivered = outcome(offers, letters(3, *HOSTS), ("MAIL", 2, "452 4.3.1 full"), ("RCPT", 0, "550 no"))
    assert codes[2] == dict.fromkeys(HOSTS, 452)
    assert [recipient for recipient, _ in delivered] == ["b@x", "c@x", "a@x", "b@x", "c@x"]


@pytest.mark.parametrize("offers", [PIPELINING, NEITHER, LMTP[1], LMTP[3]])
def test_a_refused_data_is_the_word_for_those_who_were_accepted(offers: Offers) -> None:
    given = letters(3, "a@x", "b@x")
    codes, delivered = outcome(offers, given, ("RCPT", 2, "550 no"), ("DATA", 1, "451 later"))
    assert codes == [dict.fromkeys(("a@x", "b@x"), 250), {"a@x": 550, "b@x": 451}, dict.fromkeys(("a@x", "b@x"), 250)]
    assert len(delivered) == 4


@pytest.mark.parametrize("offers", LMTP, ids=NAMES)
def test_lmtp_answers_for_each_recipient(offers: Offers) -> None:
    refusals = ("RCPT", 0, "550 no"), ("final", 1, "452 4.2.2 full"), ("final", 2, "550 5.2.1 closed")
    codes, delivered = outcome(offers, letters(2, *HOSTS), *refusals)
    assert codes == [{"a@x": 550, "b@x": 250, "c@x": 452}, {"a@x": 550, "b@x": 250, "c@x": 250}]
    assert [recipient for recipient, _ in delivered] == ["b@x", "b@x", "c@x"]


@pytest.mark.parametrize("offers", [PIPELINING, NEITHER, LMTP[1], LMTP[3]])
@pytest.mark.parametrize("verb", ["RCPT", "MAIL"])
def test_a_message_that_nobody_is_to_get_is_not_sent(offers: Offers, verb: str) -> None:
    given = letters(4)
    codes, delivered = outcome(offers, given, (verb, 1, "550 no"), gullible=True)
    assert [code["new@example.org"] for code in codes] == [250, 550, 250, 250]
    assert [octets for _, octets in delivered] == [given[place].whole for place in (0, 2, 3)]
    referee = Referee(offers.lmtp, answers((verb, 1, "550 no")), gullible=True)
    assert given[1].whole[:12] not in b"".join(talk(offers, referee, given).flights)


@pytest.mark.parametrize("offers", [CHUNKING, LMTP[0]])
def test_a_recipient_of_a_failed_message_never_gets_the_next_one(offers: Offers) -> None:
    """The referee leaves a transaction open whose BDAT it refused, as RFC 3030 section 2 lets it."""
    given = [Letter((b"%d\r\n" % number,), (recipient,)) for number, recipient in enumerate("aabbabab")]
    _, delivered = outcome(offers, given, *[("final", number, "451 later") for number in (1, 3, 4, 5)])
    assert delivered == [(given[place].recipients[0], given[place].whole) for place in (0, 2, 6, 7)]


@pytest.mark.parametrize("offers", [CHUNKING, CHUNKS_ONE_BY_ONE])
@pytest.mark.parametrize(
    "octets", [b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n", b"\0", b"x", b".", b"\r\n.\r\nQUIT\r\n"]
)
def test_chunks_carry_anything_as_it_is(offers: Offers, octets: bytes) -> None:
    offers = Offers(pipelining=offers.pipelining, chunking=True, binary=True)
    for edge in range(len(octets) + 1):
        letter = Letter((octets[:edge], octets[edge:]), body=Body.BINARY)
        _, delivered = outcome(offers, [letter] * 1)
        assert delivered == [("new@example.org", octets)]


# ---- A server, or what stands before it, that announces CHUNKING and does not know BDAT


@pytest.mark.parametrize("offers", [CHUNKING, CHUNKS_ONE_BY_ONE, LMTP[0], LMTP[2]])
@pytest.mark.parametrize("refusals", [[], [("RCPT", 0, "550 no")], [("MAIL", 0, "550 no")], [("RCPT", 2, "451 later")]])
def test_who_does_not_know_bdat_reads_one_octet_as_a_command_and_gets_data(
    offers: Offers, refusals: list[tuple[str, int, str]]
) -> None:
    """P7: what looks like commands in the first message is never obeyed."""
    evil = Letter((b"RSET\r\nMAIL FROM:<evil@x>\r\nRCPT TO:<victim@x>\r\nDATA\r\nboo\r\n.\r\n",), ("new@example.org",))
    given = [evil, *letters(3)]
    for seed in (None, 1, 2, 3):
        referee = Referee(offers.lmtp, answers(*refusals), knows_bdat=False)
        done = talk(offers, referee, given, seed=seed)
        assert done.error is None
        assert [len(line) for line in referee.strangers] == [len(b"BDAT 1"), 1]
        codes = [code["new@example.org"] for code in done.codes]
        assert sum(code != 250 for code in codes) == len(refusals)
        taken = [letter.whole for letter, code in zip(given, codes, strict=True) if code == 250]
        assert referee.delivered == [("new@example.org", octets) for octets in taken]


@pytest.mark.parametrize("code", ["500 what?", "502 5.5.1 no", "504 not so"])
@pytest.mark.parametrize("offers", [CHUNKING, LMTP[0]])
def test_bdat_may_be_refused_after_its_octets_were_read(offers: Offers, code: str) -> None:
    given = letters(3)
    for seed in (None, 1, 2, 3):
        referee = Referee(offers.lmtp, answers(("chunk", 0, code)))
        done = talk(offers, referee, given, seed=seed)
        assert (done.error, referee.strangers) == (None, [b""])
        assert referee.delivered == [("new@example.org", letter.whole) for letter in given]
        assert not any(b"LAST" in flight for flight in done.flights)


def test_a_first_octet_that_is_put_off_is_the_word_for_all_and_no_end() -> None:
    given = letters(3, "a@x", "b@x")
    codes, delivered = outcome(LMTP[0], given, ("chunk", 0, "452 4.3.1 full"), strays=[b""])
    assert codes == [dict.fromkeys(("a@x", "b@x"), code) for code in (452, 250, 250)]
    assert [octets for _, octets in delivered] == [letter.whole for letter in given[1:] for _ in "ab"]


# ---- Round trips


def test_chunking_has_many_messages_in_flight() -> None:
    done = talk(CHUNKING, Referee(), letters(200))
    # MAIL, RCPT and an octet; the rest of the first message; MAIL, RCPT and BDAT of all the others
    assert len(done.flights) == 3


def test_a_new_envelope_is_accepted_before_its_octets_go() -> None:
    given = letters(2) + letters(2, "other@example.org")
    flights = talk(CHUNKING, Referee(), given).flights
    assert [flight.count(b"BDAT") for flight in flights] == [1, 1, 1, 2]


def test_pipelining_alone_takes_one_round_trip_a_message() -> None:
    done = talk(PIPELINING, Referee(), letters(50))
    assert len(done.flights) == 51
    assert all(b"MAIL FROM" in flight and b"\r\n.\r\n" in flight for flight in done.flights[1:-1])


def test_without_pipelining_each_command_waits() -> None:
    for offers in (NEITHER, CHUNKS_ONE_BY_ONE):
        done = talk(offers, Referee(), letters(3))
        assert len(done.flights) == (3 * 4 if offers is NEITHER else 3 * 3 + 1)


@pytest.mark.parametrize("extra", [0, 1])
def test_only_a_large_message_waits_for_its_recipients(extra: int) -> None:
    large = Letter((b"x" * (LARGE + extra),))
    flights = talk(CHUNKING, Referee(), [*letters(2), large, *letters(1)]).flights
    waits = [flight for flight in flights if flight.endswith(b"RCPT TO:<new@example.org>\r\n")]
    assert len(waits) == extra


def test_a_refused_large_message_costs_nothing() -> None:
    large = Letter((b"x" * (LARGE + 1),))
    done = talk(CHUNKING, Referee(answers=answers(("RCPT", 1, "552 5.2.3 too big"))), [*letters(1), large, *letters(1)])
    assert [code["new@example.org"] for code in done.codes] == [250, 552, 250]
    assert sum(map(len, done.flights)) < 2000


def test_chunks_are_taken_as_they_are_written() -> None:
    taken = itertools.count()

    class Counted(Letter):
        @property
        def octets(self) -> int:
            return 100 * (1 << 16)

        @property
        def chunks(self):  # type: ignore[no-untyped-def]
            return lambda: (b"x" * (1 << 16) for _ in range(100) if next(taken) >= 0)

    conversation = Conversation[Letter](CHUNKING)
    conversation.send([Counted(())])
    assert conversation.data_to_send()
    conversation.sent(1000)
    conversation.receive_data(b"250 ok\r\n" * 3)
    assert conversation.next_event() is NEED_DATA
    written = len(conversation.data_to_send())
    assert written < (1 << 20)
    assert next(taken) * (1 << 16) - written <= 1 << 18


def test_a_message_that_is_not_what_was_announced_never_becomes_whole() -> None:
    class Short(Letter):
        @property
        def octets(self) -> int:
            return 7

    for pieces in ((b"sh", b"ort"), (b"too ", b"long "), (b"too lon", b"g")):
        for offers in WAYS:
            referee = Referee(offers.lmtp)
            done = talk(offers, referee, [*letters(1), Short(pieces), *letters(1)])
            assert isinstance(done.error, LocalProtocolError)
            assert [one.unsent for one in done.outcomes] == [False, True, True]
            assert len(referee.delivered) == 1
