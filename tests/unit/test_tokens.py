"""OAuth tokens: from a command, anew for each login, and never in the place of a password."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailmove.errors import ConfigurationError, UsageError
from mailmove.jobs import PullJob
from mailmove.model import TOKEN_METHODS, AuthMethod, Maildrop, SecretRef
from mailmove.secrets import resolve, supply


def nobody() -> str:
    raise AssertionError("nobody is to be asked")


def test_a_token_command_runs_for_each_login_and_not_before(tmp_path: Path) -> None:
    count = tmp_path / "count"
    token = supply(SecretRef(token_command=f"echo x >> '{count}'; wc -l < '{count}'"), nobody)
    assert not count.exists()
    assert [token().reveal().strip() for _ in range(3)] == ["1", "2", "3"]


def test_a_password_is_found_out_once_and_at_once(tmp_path: Path) -> None:
    count = tmp_path / "count"
    password = supply(SecretRef(command=f"echo x >> '{count}'; wc -l < '{count}'"), nobody)
    assert count.exists()
    assert {password().reveal().strip() for _ in range(3)} == {"1"}


@pytest.mark.parametrize(
    ("command", "said"),
    [("exit 7", "exit status 7"), ("true", "is empty"), ("printf 'a\\nb'", "line break"), ("printf '\\377'", "UTF-8")],
)
def test_a_token_command_that_fails_is_not_called_a_password(command: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        resolve(SecretRef(token_command=command), nobody)
    assert "token" in caught.value.message and "password" not in caught.value.message


def test_a_token_of_16_kb() -> None:
    assert resolve(SecretRef(token_command="head -c 16384 /dev/zero | tr '\\0' t"), nobody).reveal() == "t" * 16_384


@pytest.mark.parametrize("token", [False, True])
@pytest.mark.parametrize("way", list(AuthMethod))
def test_a_token_is_never_sent_as_a_password_nor_a_password_as_a_token(way: AuthMethod, token: bool) -> None:
    ref = SecretRef(token_command="echo t") if token else SecretRef(env="NAME")
    fits = way is AuthMethod.AUTO or token == (way in TOKEN_METHODS)
    try:
        PullJob("pop3s://me@host", Maildrop("host", "me"), Path("x"), ref, auth=way)
    except UsageError as error:
        assert not fits and "--token-command" in error.message
    else:
        assert fits
