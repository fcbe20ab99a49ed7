"""How many messages may be in flight.

Strategy: bounded by count and by listed octets, so that a lost connection costs little, and refilled only when half of
it has been answered, so that commands go out in a few large writes. An empty window always admits one message, however
large it is; so a window of 1 asks for one message after another.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol, TypeVar

from mailmove.errors import LocalProtocolError


class HasOctets(Protocol):
    """What can be asked for, like a MaildropEntry."""

    @property
    def octets(self) -> int:
        """Its size by LIST."""


T = TypeVar("T", bound=HasOctets)


class Window:
    """What is in flight now, against what may be (design.md section 6)."""

    def __init__(self, max_messages: int = 1000, max_octets: int = 32 * 1024 * 1024) -> None:
        self.max_messages = max_messages
        self.max_octets = max_octets
        self.messages = 0
        self.octets = 0

    def admits(self, octets: int) -> bool:
        """Whether a message of this size may be asked for now."""
        if not self.messages:
            return True
        return self.messages < self.max_messages and self.octets + octets <= self.max_octets

    def sent(self, octets: int) -> None:
        """A message of this size was asked for."""
        self.messages += 1
        self.octets += octets

    def answered(self, octets: int) -> None:
        """A message asked for with this size came in, or was refused."""
        if not self.messages:
            raise LocalProtocolError("A message was answered that nobody asked for: this is a bug in mailmove.")
        self.messages -= 1
        self.octets -= octets

    @property
    def is_low(self) -> bool:
        """Whether it is worth sending more: at least half of the window is free in both measures."""
        return self.messages <= self.max_messages // 2 and self.octets <= self.max_octets // 2

    def refill(self, pending: deque[T]) -> list[T]:
        """Takes from the left of `pending` what is to be asked for now, in one write, and counts it as sent."""
        admitted: list[T] = []
        if not self.is_low:
            return admitted
        while pending and self.admits(pending[0].octets):
            admitted.append(pending.popleft())
            self.sent(admitted[-1].octets)
        return admitted
