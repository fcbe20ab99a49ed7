"""What a conversation tells: what became of a message, or that more octets must come in."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Generic

from mailmove.model import Reply
from mailmove.protocols.smtp.course import M


class NeedData(enum.Enum):
    """More octets must come in."""

    NEED_DATA = "need data"


NEED_DATA: Final = NeedData.NEED_DATA


@dataclass(frozen=True, slots=True)
class Outcome(Generic[M]):
    """What became of one message: the last word for each recipient; nobody knows of those that are lacking.

    `unsent`: it is certainly not delivered to those.
    """

    mail: M
    replies: Mapping[str, Reply]
    unsent: bool = False
