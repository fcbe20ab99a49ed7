"""What a replay over SMTP or LMTP tells afterwards: the replay's report, by recipients (design.md section 8).

Strategy: one delivery is one message for one recipient, so the equation counts these. What an IMAP target alone has
(a mailbox, what is in it) is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field

from mailmove.jobs.replay_report import ReplayReport, Term
from mailmove.model import ReportedException
from mailmove.targets import RelayTraits

MOST_NAMED = 5
"""Recipients in a line for people."""


@dataclass(slots=True)
class RelayReport(ReplayReport):
    """One run of one replay to recipients. `messages`: how many are to be sent; `traits`: of a dry run only.

    `mailboxes` holds the recipients too: whoever decides what may be deleted asks by that name.
    """

    _: KW_ONLY
    recipients: list[str] = field(default_factory=list)
    messages: int = 0
    traits: RelayTraits | None = None

    @property
    def to_whom(self) -> str:
        """The recipients for people."""
        if len(self.recipients) <= MOST_NAMED:
            return ", ".join(self.recipients) or "nobody"
        return f"{', '.join(self.recipients[:MOST_NAMED])} and {len(self.recipients) - MOST_NAMED:,} more"

    def leave_out(self, messages: Sequence[ReportedException]) -> None:
        """These are selected too, and go to nobody."""
        self.exceptions += messages
        self.selected += len(messages)
        self.terms.update(Term.PARKED if one.kind == "damaged" else Term.SKIPPED for one in messages)

    def counts(self) -> dict[str, int]:
        """The numbers, the terms of the equation first; each delivery is a message for a recipient."""
        every = ReplayReport.counts(self)
        for name in ("extra_at_target", "missing", "redelivered", "at_target"):
            del every[name]
        return every | {"messages": self.messages}

    def as_dict(self) -> dict[str, object]:
        """The report as one JSON object."""
        facts: dict[str, object] = {"recipients": self.recipients}
        if self.traits:
            facts["offers"] = offers(self.traits)
        return self._document({"target": self.target}, facts)


def offers(traits: RelayTraits) -> dict[str, object]:
    """What the server offers, by the names that SMTP has for it."""
    return {
        "protocol": "lmtp" if traits.lmtp else "smtp",
        "pipelining": traits.pipelining,
        "chunking": traits.chunking,
        "8bitmime": traits.eight_bit,
        "binarymime": traits.binary,
        "smtputf8": traits.utf8,
        "size": traits.largest,
        "authenticated": traits.authenticated,
        "greeting": traits.greeting,
    }
