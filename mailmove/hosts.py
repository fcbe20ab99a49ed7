"""How hosts are named: for a person, for DNS and TLS, for certificates (design.md section 4)."""

from __future__ import annotations

from mailmove.errors import UsageError

AMBIGUOUS = "ß\u03c2\u200c\u200d"
"""Characters that old and new rules for domain names read differently (RFC 5894 section 7.2)."""


def wire_name(host: str) -> str:
    """A host name as DNS and TLS have it, in ASCII (RFC 3490 section 4). Raises UsageError."""
    if host.isascii():
        return host
    if any(character in AMBIGUOUS for character in host):
        raise UsageError(
            f"The host name {host!r} can mean two domains, by old and by new rules; give it in its xn-- form."
        )
    try:
        return host.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise UsageError(f"{host!r} is no host name; check the spelling.") from None


def shown_name(host: str) -> str:
    """A host name as a person reads it, so that its two spellings are one. Raises UsageError."""
    name = wire_name(host)
    if "xn--" not in name.lower():
        return name
    try:
        shown = name.encode("ascii").decode("idna")
    except UnicodeError:
        return name  # of the new rules, or no name at all: as it was given
    return shown if shown.isprintable() and wire_name(shown) == name else name
