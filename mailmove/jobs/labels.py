"""Gmail's labels on what a replay delivers (`--label`), as certain as the delivery itself.

Strategy: a session that labels stands before the real one, so that whoever sends need not know of it. What arrives is
labelled before anybody hears that it did, so nothing counts as delivered without its labels. If the session ends in
between, the message stays announced and unsettled; the next session finds it at the target, labels it, and only then
settles it (reconcile.py). Adding a label twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from mailmove.errors import ConfigurationError
from mailmove.targets import Outgoing, Receipt, Sent, Target


def labelling(target: Target, labels: Sequence[str]) -> Target:
    """The session, or where there are labels one that adds them. Raises ConfigurationError if it is not Gmail's."""
    if not labels:
        return target
    if not target.merges_message_ids:
        raise ConfigurationError("--label needs Gmail, and the target is none (it has no X-GM-EXT-1); leave it out.")
    return cast("Target", _Labelling(target, labels))


class _Labelling:
    """A Target; `send`, `reap` and `append` are its own, everything else is the real session's."""

    def __init__(self, target: Target, labels: Sequence[str]) -> None:
        self._target = target
        self._labels = labels
        self._failed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    def send(self, messages: Sequence[Outgoing]) -> None:
        self._failed, ended = True, self._failed
        self._target.send(messages)
        self._failed = ended

    def reap(self, *, wait: bool = True) -> list[Sent]:
        """After a failure only refusals are told: what arrived without its labels is for the next session to find."""
        if self._failed:
            return [sent for sent in self._target.reap(wait=False) if sent.receipt is None]
        self._failed = True
        told = self._target.reap(wait=wait)
        self._label(sent.receipt for sent in told)
        self._failed = False
        return told

    def append(self, message: Outgoing) -> Receipt:
        receipt = self._target.append(message)
        self._label([receipt])
        return receipt

    def _label(self, receipts: Iterable[Receipt | None]) -> None:
        """A message that Gmail gave no UID for cannot be labelled; it announces UIDPLUS, so there is none."""
        if uids := [receipt.uid for receipt in receipts if receipt and receipt.uid]:
            self._target.label(uids, self._labels)
