"""What became of messages on their way to a target, counted once it is durable (design.md, P2)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from mailmove.archive.deliveries import Selected
from mailmove.jobs.replay_report import Term
from mailmove.model import Digest, ReportedException


@dataclass(slots=True)
class Settled:
    """`octets`: of what was delivered; `handled`: of all that is settled; `tried`: not to be sent again in this run."""

    terms: Counter[Term] = field(default_factory=Counter)
    octets: int = 0
    handled: int = 0
    delivered: list[Digest] = field(default_factory=list)
    tried: list[Digest] = field(default_factory=list)
    exceptions: list[ReportedException] = field(default_factory=list)

    def settle(self, message: Selected, term: Term) -> None:
        self.terms[term] += 1
        self.handled += message.octets
        if term is Term.DELIVERED:
            self.octets += message.octets
            self.delivered.append(message.digest)
        elif term is not Term.ALREADY_THERE:
            self.tried.append(message.digest)

    def name(self, kind: str, digest: Digest, reason: str, text: str = "") -> None:
        self.exceptions.append(ReportedException(kind, reason, digest=digest, server_text=text))

    def add(self, other: Settled) -> None:
        self.terms += other.terms
        self.octets += other.octets
        self.handled += other.handled
        self.delivered += other.delivered
        self.tried += other.tried
        self.exceptions += other.exceptions
