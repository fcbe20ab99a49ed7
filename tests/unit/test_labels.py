"""Labels are on a message before it counts as delivered, whatever goes wrong in between."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from mailmove.errors import ConfigurationError, ConnectionLost, MessageRejected
from mailmove.jobs.labels import labelling
from mailmove.targets import Outgoing, Receipt, Sent, Target

LABELS = ("Old", r"\Starred")


def outgoing() -> Outgoing:
    return Outgoing(1, datetime(2001, 2, 3, tzinfo=UTC), False, lambda: iter([b"x"]))


class Session:
    """A target that takes everything but what a test says. `log`: what was asked of it."""

    def __init__(self, *, gmail: bool = True, fails_in: str = "", refuse: Sequence[int] = ()) -> None:
        self.merges_message_ids, self.fails_in, self.refuse = gmail, fails_in, refuse
        self.log: list[Any] = []
        self.under_way: list[Outgoing] = []
        self.uid = 0

    def _may_fail(self, where: str) -> None:
        if self.fails_in == where:
            raise ConnectionLost("It hung up.")

    def send(self, messages: Sequence[Outgoing]) -> None:
        self.under_way += messages
        self._may_fail("send")

    def reap(self, *, wait: bool = True) -> list[Sent]:
        if wait:
            self._may_fail("reap")
        messages, self.under_way = self.under_way, []
        return [self._settled(message) for message in messages]

    def _settled(self, message: Outgoing) -> Sent:
        self.uid += 1
        if self.uid in self.refuse:
            return Sent(message, refusal=MessageRejected("no"))
        return Sent(message, Receipt(7, self.uid))

    def append(self, message: Outgoing) -> Receipt:
        self.uid += 1
        return Receipt(7, self.uid)

    def label(self, uids: Sequence[int], labels: Sequence[str]) -> None:
        self._may_fail("label")
        self.log.append((list(uids), tuple(labels)))

    def append_limit(self) -> int:
        return 42


def labelled(**options: Any) -> tuple[Session, Target]:
    session = Session(**options)
    return session, labelling(cast("Target", session), LABELS)


def test_without_labels_it_is_the_session_itself() -> None:
    session = cast("Target", Session(gmail=False))
    assert labelling(session, ()) is session


def test_where_there_are_no_labels_nothing_is_sent() -> None:
    with pytest.raises(ConfigurationError, match="--label needs Gmail"):
        labelled(gmail=False)


def test_everything_else_is_the_sessions_own() -> None:
    assert labelled()[1].append_limit() == 42


@pytest.mark.parametrize("wait", [True, False])
def test_what_arrived_is_labelled_before_anybody_hears_of_it(wait: bool) -> None:
    session, target = labelled(refuse=[2])
    target.send([outgoing(), outgoing(), outgoing()])
    assert session.log == []
    told = target.reap(wait=wait)
    assert [sent.receipt for sent in told] == [Receipt(7, 1), None, Receipt(7, 3)]
    assert session.log == [([1, 3], LABELS)]
    assert target.reap() == [] and session.log == [([1, 3], LABELS)]


def test_a_single_message_is_labelled_too() -> None:
    session, target = labelled()
    assert target.append(outgoing()) == Receipt(7, 1)
    assert session.log == [([1], LABELS)]


@pytest.mark.parametrize("where", ["send", "reap", "label"])
def test_what_was_not_labelled_is_not_told_as_delivered(where: str) -> None:
    session, target = labelled(fails_in=where, refuse=[1])
    first, second = outgoing(), outgoing()
    with pytest.raises(ConnectionLost):
        target.send([first, second])
        target.reap()
    session.fails_in = ""
    assert all(sent.message is first and sent.refusal for sent in target.reap(wait=False))
    assert session.log == []


def test_a_label_that_fails_behind_an_append_leaves_it_untold() -> None:
    _, target = labelled(fails_in="label")
    with pytest.raises(ConnectionLost):
        target.append(outgoing())
