"""What a verification can find."""

from __future__ import annotations

from dataclasses import dataclass

SOUND = frozenset({"leftover", "note"})
"""Kinds of findings that are nothing to worry about."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it must be.

    `kind`: damaged, missing, extra, log, catalogue; or leftover (of a run that was cut off) and note, which are sound.
    """

    kind: str
    what: str
    reason: str

    @property
    def sound(self) -> bool:
        return self.kind in SOUND
