"""Where a password comes from, and that it shows nowhere on its way: not in a repr, not in a traceback.

Strategy: the same table of values goes through every source (environment, file, command, prompt), since all of them
must treat line ends alike. What must not be shown is looked for in everything Python prints of a failure by itself.
"""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from mailmove.errors import ConfigurationError
from mailmove.model import SecretRef
from mailmove.secrets import Secret, resolve

NAME = "MAILMOVE_UNIT_PASSWORD"
Source = Callable[[str], Secret]


def nobody() -> str:
    raise AssertionError("nobody is to be asked")


@pytest.fixture(params=["env", "file", "command", "prompt"])
def source(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """Resolves a value that the source gives literally."""
    file = tmp_path / "password"

    def take(value: str) -> Secret:
        file.write_bytes(value.encode("utf-8"))
        if request.param == "env":
            monkeypatch.setenv(NAME, value)
            return resolve(SecretRef(env=NAME), nobody)
        if request.param == "file":
            return resolve(SecretRef(file=str(file)), nobody)
        if request.param == "command":
            return resolve(SecretRef(command=f"cat '{file}'"), nobody)
        return resolve(SecretRef(), lambda: value)

    return take


@pytest.mark.parametrize(
    ("given", "password"),
    [
        ("hunter2", "hunter2"),
        ("hunter2\n", "hunter2"),
        ("hunter2\r\n", "hunter2"),
        (" hunter2 \n", " hunter2 "),
        ("hünter\u20ac\n", "hünter\u20ac"),
        ("a:b@c/d%20\\'\"$x\t", "a:b@c/d%20\\'\"$x\t"),
    ],
)
def test_one_trailing_line_end_is_cut_and_nothing_else(given: str, password: str, source: Source) -> None:
    assert source(given).reveal() == password


@pytest.mark.parametrize("given", ["a\nb", "a\r\nb", "a\rb", "\na", "a\n\n", "a\n\r\n", "\n\n"])
def test_a_line_break_inside_is_refused(given: str, source: Source) -> None:
    with pytest.raises(ConfigurationError, match="line break") as caught:
        source(given)
    assert caught.value.exit_code == 78


@pytest.mark.parametrize("given", ["a\0b", "\0", "a\0\n"])
def test_nul_is_refused(given: str, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(given)
    for take in (lambda: Secret(given), lambda: resolve(SecretRef(file=str(tmp_path / "password")), nobody)):
        with pytest.raises(ConfigurationError, match="NUL"):
            take()


@pytest.mark.parametrize("given", ["", "\n", "\r\n"])
def test_an_empty_password_is_refused(given: str, source: Source) -> None:
    with pytest.raises(ConfigurationError, match="empty"):
        source(given)


# ---- Sources that fail say which one, and what is wrong


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        (SecretRef(env="MAILMOVE_NO_SUCH_NAME"), "MAILMOVE_NO_SUCH_NAME"),
        (SecretRef(file="/no/such/file"), "/no/such/file cannot be read: No such file"),
        (SecretRef(file="/"), "directory"),
        (SecretRef(command="exit 7"), "exit status 7"),
        (SecretRef(command="no-such-program-at-all 2>&-"), "exit status 127"),
        (SecretRef(command="printf '\\377'"), "UTF-8"),
    ],
)
def test_a_source_that_fails(ref: SecretRef, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve(ref, nobody)
    assert said in caught.value.message and caught.value.message.endswith(".")


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "password").write_bytes(b"hunter2\xff")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        resolve(SecretRef(file=str(tmp_path / "password")), nobody)


def test_a_file_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve(SecretRef(file="~/password"), nobody).reveal() == "hunter2"


def test_what_a_command_says_beside_the_password_is_not_the_password() -> None:
    assert resolve(SecretRef(command="echo 'unlocking' >&2; echo hunter2"), nobody).reveal() == "hunter2"


def test_a_command_that_fails_gives_no_password_even_if_it_printed_one() -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve(SecretRef(command="echo hunter2; exit 1"), nobody)
    assert "hunter2" not in shown(caught.value)


# ---- Shown nowhere


def shown(error: BaseException) -> str:
    """Everything Python says of an exception and of those it shows with it, but not our source lines."""
    lines = traceback.TracebackException.from_exception(error).format()
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    said = "".join(line for line in lines if not line.startswith("  File ")) + repr(error) + repr(error.args)
    return said + (shown(before) if before else "")


def test_a_secret_is_three_asterisks(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret("hunter2")
    logging.getLogger("test").warning("%s %r", secret, secret)
    ways = [str(secret), repr(secret), f"{secret}", f"{secret!r}", f"{[secret]}", "%s" % secret, format(secret)]  # noqa: UP031
    assert {way.strip("[]") for way in ways} == {"***"}
    assert "hunter2" not in caplog.text


def test_a_secret_can_be_neither_looked_into_nor_stored_by_accident() -> None:
    secret = Secret("hunter2")
    assert not hasattr(secret, "__dict__"), "vars() and locals dumps show nothing"
    with pytest.raises(TypeError):
        json.dumps(secret)


@pytest.mark.parametrize("given", ["hunter2\nhunter2", "hunter2\0"])
def test_a_refused_password_is_not_repeated(given: str, source: Source) -> None:
    if "\0" in given:
        source = Secret
    with pytest.raises(ConfigurationError) as caught:
        source(given)
    assert "hunter2" not in shown(caught.value)


def test_a_file_that_is_not_text_is_not_shown(tmp_path: Path) -> None:
    """UnicodeDecodeError holds all of the octets, so it may not be shown with the error."""
    (tmp_path / "password").write_bytes(b"hunter2\xff")
    for ref in (SecretRef(file=str(tmp_path / "password")), SecretRef(command=f"cat '{tmp_path}/password'")):
        with pytest.raises(ConfigurationError) as caught:
            resolve(ref, nobody)
        assert "hunter2" not in shown(caught.value)


def test_a_reference_is_plain_data_without_the_secret() -> None:
    ref = SecretRef(env=NAME)
    assert copy.deepcopy(ref) == pickle.loads(pickle.dumps(ref)) == ref
    assert NAME in repr(ref)
