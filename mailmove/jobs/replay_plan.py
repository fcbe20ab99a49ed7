"""What a replay does with each selected message: pure (design.md section 7).

Strategy: wanted copies less what is settled. Receipts count first, then what a person settled; what is uncertain or
parked is left alone unless asked for; the rest is sent.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailmove.archive.deliveries import Selected


@dataclass(frozen=True, slots=True)
class Decision:
    """How many copies of one message are left alone and why, and how many are sent.

    `withdraw`: the states of earlier deliveries that sending takes the place of, one for each copy it concerns.
    """

    skipped: int = 0
    uncertain: int = 0
    parked: int = 0
    send: int = 0
    withdraw: tuple[str, ...] = ()


def decide(message: Selected, *, resend_uncertain: bool, retry_parked: bool) -> Decision:
    """Copies with a receipt are not counted here."""
    rest = message.copies - min(message.copies, message.delivered)
    skipped = min(rest, message.skipped)
    uncertain = min(rest - skipped, message.uncertain)
    parked = min(rest - skipped - uncertain, message.parked)
    send = rest - skipped - uncertain - parked
    withdraw: list[str] = []
    if resend_uncertain:
        withdraw += ["uncertain"] * uncertain
        send, uncertain = send + uncertain, 0
    if retry_parked:
        withdraw += ["parked"] * parked
        send, parked = send + parked, 0
    return Decision(skipped, uncertain, parked, send, tuple(withdraw))
