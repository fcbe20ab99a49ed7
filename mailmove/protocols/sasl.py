"""SASL client exchanges, as octets before base64 (the commands encode them).

Strategy: a mechanism is a small object: its first message, if it speaks first, and an answer to each challenge; None
gives the exchange up. It never raises and never sends. What a person must know of a failure is left in `complaint`,
which never holds the secret. The computing of SCRAM is scramp's, imported only where it is used.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from mailmove.errors import UsageError
from mailmove.model import AuthMethod

MAX_COMPLAINT = 500


@dataclass(frozen=True, slots=True)
class Login:
    """Who logs in where. `secret` is a password, or the token of OAUTH."""

    user: str
    secret: str = field(repr=False)
    host: str = ""
    port: int = 0


class Mechanism:
    """One exchange, from the client's side (RFC 4422 section 3)."""

    name: ClassVar[str]
    in_two_steps: ClassVar[bool] = False
    """`initial` never goes out with the command that begins the exchange, since some servers do not take it there."""

    initial: bytes | None = None
    """What the client says first; None where the server speaks first."""

    proven = True
    """Whether the server has shown what it must: a success before that is none."""

    complaint = ""
    """Why the exchange was given up, or what the server said of its failure."""

    def respond(self, challenge: bytes) -> bytes | None:
        """The answer to a challenge, `initial` being sent already; None to give up."""
        self.complaint = f"it asks for more than {self.name} has to say"
        return None


class Exchange:
    """Answers challenges for a mechanism. `begun`: `initial` went out with the command."""

    def __init__(self, mechanism: Mechanism, *, begun: bool) -> None:
        self._mechanism = mechanism
        self._unsent = None if begun else mechanism.initial

    def answer(self, challenge: bytes) -> bytes | None:
        """To the first challenge `initial`, whatever it says, if it is not sent yet. None to give up."""
        if self._unsent is not None:
            unsent, self._unsent = self._unsent, None
            return unsent
        return self._mechanism.respond(challenge)


class Plain(Mechanism):
    """User and password between NULs, with an empty authorization identity (RFC 4616 section 2)."""

    name = "PLAIN"
    initial: bytes

    def __init__(self, login: Login) -> None:
        """Raises UsageError for what it cannot carry."""
        self.initial = b"\0" + _text("user name", login.user) + b"\0" + _text("password", login.secret)


class LoginMechanism(Mechanism):
    """LOGIN: two questions, whatever their words, and two answers (draft-murchison-sasl-login)."""

    name = "LOGIN"

    def __init__(self, login: Login) -> None:
        """Raises UsageError for what it cannot carry."""
        self._answers = [_text("user name", login.user), _text("password", login.secret)]

    def respond(self, challenge: bytes) -> bytes | None:
        return self._answers.pop(0) if self._answers else super().respond(challenge)


class CramMd5(Mechanism):
    """The user, and the challenge hashed with the password as key (RFC 2195 section 2)."""

    name = "CRAM-MD5"

    def __init__(self, login: Login) -> None:
        """Raises UsageError for what it cannot carry."""
        self._user, self._key = _text("user name", login.user), _text("password", login.secret)
        self._answered = False

    def respond(self, challenge: bytes) -> bytes | None:
        if self._answered:
            return super().respond(challenge)
        self._answered = True
        return self._user + b" " + hmac.new(self._key, challenge, "md5").hexdigest().encode()


MOST_ITERATIONS = 1_000_000
_ITERATIONS = re.compile(r"(?:^|,)i=([0-9]{1,12})")


class ScramSha256(Mechanism):
    """The password never crosses the wire, and the server proves that it knows it (RFC 5802, RFC 7677)."""

    name = "SCRAM-SHA-256"
    proven = False

    def __init__(self, login: Login, nonce: str | None = None) -> None:
        """Raises UsageError for what it cannot carry (RFC 4013). `nonce` is for test vectors only."""
        from scramp import ScramClient, ScramException  # type: ignore[import-untyped]

        try:
            self._client: Any = ScramClient([self.name], login.user, login.secret, c_nonce=nonce)
            self.initial = self._client.get_client_first().encode()
        except (ScramException, UnicodeEncodeError):
            raise UsageError(
                "The user name or password holds a character that SCRAM cannot carry; choose another way with --auth."
            ) from None
        self._steps = [self._final, self._verified]

    def respond(self, challenge: bytes) -> bytes | None:
        from scramp import ScramException

        if not self._steps:
            return super().respond(challenge)
        try:
            return self._steps.pop(0)(challenge.decode())
        except (ScramException, ValueError) as error:
            self._steps.clear()
            self.complaint = f"it did not pass SCRAM's checks ({_short(str(error))})"
            return None

    def _final(self, server_first: str) -> bytes:
        """A count that would keep us computing for minutes is refused: real servers ask for some thousands."""
        found = _ITERATIONS.search(server_first)
        if found and int(found[1]) > MOST_ITERATIONS:
            raise ValueError(f"it asks for {found[1]} iterations")
        self._client.set_server_first(server_first)
        final: str = self._client.get_client_final()
        return final.encode()

    def _verified(self, server_final: str) -> bytes:
        self._client.set_server_final(server_final)
        self.proven = True
        return b""


class _Bearer(Mechanism):
    """A token, and in case of a failure one challenge that says why, which must be answered."""

    acknowledgement: ClassVar[bytes]

    def __init__(self, login: Login) -> None:
        self._token = login.secret

    def respond(self, challenge: bytes) -> bytes | None:
        if self.complaint:
            return None
        told = challenge.decode("utf-8", "replace").replace(self._token, "***")
        self.complaint = f"it said: {_short(told)}"
        return self.acknowledgement


class XOAuth2(_Bearer):
    """Google's and Microsoft's; Microsoft's takes no initial response in the command itself."""

    name = "XOAUTH2"
    in_two_steps = True
    acknowledgement = b""

    def __init__(self, login: Login) -> None:
        """Raises UsageError for what it cannot carry."""
        super().__init__(login)
        user, token = _field("user name", login.user), _field("token", login.secret)
        self.initial = b"user=" + user + b"\1auth=Bearer " + token + b"\1\1"


class OAuthBearer(_Bearer):
    """RFC 7628 section 3.1."""

    name = "OAUTHBEARER"
    acknowledgement = b"\1"

    def __init__(self, login: Login) -> None:
        """Raises UsageError for what it cannot carry."""
        super().__init__(login)
        user = _field("user name", login.user).replace(b"=", b"=3D").replace(b",", b"=2C")
        place = f"\1host={login.host}\1port={login.port}".encode() if login.host else b""
        self.initial = b"n,a=" + user + b"," + place + b"\1auth=Bearer " + _field("token", login.secret) + b"\1\1"


AnyMechanism = Plain | LoginMechanism | CramMd5 | ScramSha256 | XOAuth2 | OAuthBearer

MECHANISMS: Mapping[AuthMethod, type[AnyMechanism]] = {
    AuthMethod.PLAIN: Plain,
    AuthMethod.LOGIN: LoginMechanism,
    AuthMethod.CRAM_MD5: CramMd5,
    AuthMethod.SCRAM_SHA_256: ScramSha256,
    AuthMethod.XOAUTH2: XOAuth2,
    AuthMethod.OAUTHBEARER: OAuthBearer,
}


def _text(what: str, value: str) -> bytes:
    # NUL separates the fields of PLAIN, so it would move the border between user and password.
    if "\0" in value:
        raise UsageError(f"The {what} contains a NUL character, which SASL cannot carry: remove it and try again.")
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise UsageError(f"The {what} is not valid Unicode text: enter it again.") from None


def _field(what: str, value: str) -> bytes:
    # U+0001 separates the fields of the OAuth mechanisms.
    if any(character < " " for character in value):
        raise UsageError(f"The {what} contains a control character, which OAuth cannot carry: remove it and try again.")
    return _text(what, value)


def _short(text: str) -> str:
    return text if len(text) <= MAX_COMPLAINT else text[:MAX_COMPLAINT] + "…"
