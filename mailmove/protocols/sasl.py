"""SASL client messages, as octets before base64 (the commands encode them).

Strategy: one pure function for each mechanism, from credentials to the octets of the initial response. What is in
here never reaches an error message.
"""

from __future__ import annotations

from mailmove.errors import UsageError


def plain(user: str, password: str) -> bytes:
    """The PLAIN message with an empty authorization identity (RFC 4616 section 2)."""
    return b"\0" + _identity("user name", user) + b"\0" + _identity("password", password)


def _identity(what: str, value: str) -> bytes:
    # NUL separates the fields of the message, so it would move the border between user and password.
    if "\0" in value:
        raise UsageError(
            f"The {what} contains a NUL character, which SASL PLAIN cannot carry: remove it and try again."
        )
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise UsageError(f"The {what} is not valid Unicode text: enter it again.") from None
