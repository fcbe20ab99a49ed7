"""SASL messages, before base64."""

from __future__ import annotations

import pytest

from mailmove.errors import UsageError
from mailmove.protocols import sasl


def test_plain_is_user_and_password_between_nuls() -> None:
    assert sasl.plain("tim", "tanstaaftanstaaf") == b"\0tim\0tanstaaftanstaaf"  # RFC 4616 section 4
    assert sasl.plain("jörg", "pässwört") == "\0jörg\0pässwört".encode()
    assert sasl.plain("", "") == b"\0\0"


@pytest.mark.parametrize(("user", "password"), [("m\0e", "secret"), ("me", "sec\0ret"), ("me", "secret\udc80")])
def test_what_would_move_the_border_is_refused(user: str, password: str) -> None:
    with pytest.raises(UsageError) as refused:
        sasl.plain(user, password)
    assert "ret" not in str(refused.value)
