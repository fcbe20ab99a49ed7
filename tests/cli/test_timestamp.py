"""`mailmove timestamp`: a token that proves, without us, when the log was what it was; and every way it can fail.

Strategy: a real authority (`openssl ts` behind HTTP on loopback), a real archive, and `openssl ts -verify` as the
second opinion. What must not happen is looked for on the disk: after any failure there is no log/ts/.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from mailmove.archive.tokens import Unproven, read_answer, read_roots, request, with_sorted_certificates
from mailmove.errors import CommandRejected, ProtocolError
from tests.conftest import unavailable
from tests.servers.certs import Certificates
from tests.support import tsa
from tests.support.cli import REPO, Result, mailmove
from tests.support.client import HOST
from tests.support.tsa import Authority, Keys, openssl
from tests.unit.archive.making import log_lines, some, store, tree

DIRECT = {"no_proxy": "*"}
SOUND, USAGE, DAMAGED, LATER, CONFIGURATION = 0, 2, 4, 75, 78


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    if reason := tsa.missing():
        unavailable(reason)
    return tsa.make(tmp_path_factory.mktemp("tsa"))


@pytest.fixture
def archive(archive_dir: Path) -> Path:
    store(archive_dir, some(3))
    return archive_dir


def run(archive: Path, *args: object, env: dict[str, str] | None = None) -> Result:
    return mailmove("timestamp", "-a", archive, *args, env=DIRECT | (env or {}))


def stamp(archive: Path, keys: Keys) -> Path:
    """The token of a new time stamp."""
    with Authority(keys) as authority:
        done = run(archive, "--tsa", authority.url)
    assert done.code == SOUND, done
    return archive / "log" / "ts" / f"{len(log_lines(archive))}.tsr"


def problems(archive: Path, *args: object) -> dict[str, str]:
    """What --verify says is wrong: token -> problem; the exit code and the text for people say the same."""
    told, text = run(archive, "--verify", *args, "--json"), run(archive, "--verify", *args)
    found = {one["token"]: one["problem"] for one in told.json()["stamps"] if one["problem"]}
    assert told.code == text.code == (DAMAGED if found else SOUND), told
    assert text.stdout.startswith("NOT SOUND: " if found else "Sound: "), text
    assert all(f"{token}: " in text.stdout and problem in text.stdout for token, problem in found.items()), text
    return found


def openssl_verifies(token: Path, keys: Keys) -> bool:
    data = token.with_suffix(".checkpoint")
    try:
        said = openssl(keys.folder, "ts", "-verify", "-in", token, "-data", data, "-CAfile", keys.ca)
    except RuntimeError:
        return False
    return "Verification: OK" in said


# ---- what it does


def test_a_stamp_is_proven_by_openssl_and_by_us(archive: Path, keys: Keys) -> None:
    with Authority(keys) as authority:
        done = run(archive, "--tsa", authority.url, "--tsa-cert", keys.ca)
    assert done.code == SOUND and done.stdout.startswith("Stamped: "), done
    token = archive / "log" / "ts" / f"{len(log_lines(archive))}.tsr"
    assert [token.read_bytes()] == authority.answers
    assert token.with_suffix(".checkpoint").read_bytes() == (archive / "log" / "checkpoint").read_bytes()
    assert sorted(os.listdir(token.parent)) == sorted([token.name, token.with_suffix(".checkpoint").name])
    assert openssl_verifies(token, keys)
    (proven,) = run(archive, "--verify", "--tsa-cert", keys.ca, "--json").json()["stamps"]
    assert (proven["signature"], proven["problem"]) == (True, "")
    assert mailmove("verify", "-a", archive).code == SOUND


def test_only_a_hash_leaves_the_machine(archive: Path, keys: Keys, tmp_path: Path) -> None:
    with Authority(keys) as authority:
        run(archive, "--tsa", authority.url)
    (query,) = authority.queries
    checkpoint = (archive / "log" / "checkpoint").read_bytes()
    assert hashlib.sha256(checkpoint).digest() in query and len(query) < 80
    (tmp_path / "query").write_bytes(query)
    shown = openssl(tmp_path, "ts", "-query", "-in", "query", "-text")
    assert "Hash Algorithm: sha256" in shown and "Certificate required: yes" in shown
    assert "Nonce: 0x" in shown and "Policy OID: unspecified" in shown and "Extensions:\n" in shown


def test_every_later_log_gets_a_stamp_of_its_own_and_all_are_proven(archive: Path, keys: Keys) -> None:
    first = stamp(archive, keys)
    store(archive, some(2, seed=9))
    second = stamp(archive, keys)
    store(archive, some(1, seed=10))
    told = run(archive, "--verify", "--tsa-cert", keys.ca, "--json").json()
    assert [(one["token"], one["problem"]) for one in told["stamps"]] == [
        (f"log/ts/{first.name}", ""),
        (f"log/ts/{second.name}", ""),
    ]
    assert openssl_verifies(first, keys) and openssl_verifies(second, keys)


def test_where_nothing_is_new_nobody_is_asked(archive: Path, keys: Keys) -> None:
    stamp(archive, keys)
    before = tree(archive)
    with Authority(keys) as authority:
        again = run(archive, "--tsa", authority.url, "--json")
    assert again.code == SOUND and again.json()["new"] is False and authority.queries == []
    assert tree(archive) == before


def test_a_stamp_that_was_cut_short_is_made_again(archive: Path, keys: Keys) -> None:
    """Killed between the two files: a checkpoint alone is no stamp."""
    token = stamp(archive, keys)
    token.unlink()
    assert run(archive, "--verify").code == USAGE
    assert stamp(archive, keys) == token and openssl_verifies(token, keys)


def test_certificates_in_any_order_are_read(archive: Path, keys: Keys) -> None:
    """openssl sends the authority's certificate, then its CA's: not DER's order, which rfc3161-client demands."""
    answer = stamp(archive, keys).read_bytes()
    ca, own = (der(keys.folder / name) for name in ("ca.pem", "tsa.pem"))
    assert own + ca in answer
    assert with_sorted_certificates(answer) == answer.replace(own + ca, ca + own)


def der(certificate: Path) -> bytes:
    out = certificate.with_suffix(".der")
    openssl(certificate.parent, "x509", "-in", certificate, "-outform", "DER", "-out", out)
    return out.read_bytes()


@pytest.mark.parametrize(
    "answer", [b"", b"\x30", b"\x30\x80\x00\x00", b"\x30\x84\xff\xff\xff\xff", b"\x30\x02\x30\x09"]
)
def test_what_is_no_der_is_left_to_the_parser(answer: bytes) -> None:
    assert with_sorted_certificates(answer) == answer


def test_whatever_octets_come_they_prove_nothing_or_say_why(keys: Keys) -> None:
    """A flip in what is signed, or a cut anywhere: one of our three exceptions, never a proof, and no other."""
    data, roots = b"three lines", read_roots(keys.ca)
    asked = request(data)
    answer = keys.reply(asked.octets)

    def proves(octets: bytes) -> bool:
        with contextlib.suppress(ProtocolError, CommandRejected, Unproven):
            read_answer(octets, asked, data, "it").prove_signature(data, roots)
            return True
        return False

    imprint = answer.index(hashlib.sha256(data).digest())
    flipped = {n: answer[:n] + bytes([answer[n] ^ 1 << n % 8]) + answer[n + 1 :] for n in range(0, len(answer), 5)}
    proven = {n for n, octets in flipped.items() if proves(octets)}
    assert proves(answer) and not proven & {*range(imprint, imprint + 50), *range(len(answer) - 64, len(answer))}
    assert not any(proves(answer[:n]) for n in range(0, len(answer), 17))


# ---- what --verify finds


def test_an_altered_token(archive: Path, keys: Keys) -> None:
    """A flip in the time, in the imprint, or in the signature: found by us with the CA, as by openssl."""
    token = stamp(archive, keys)
    sound = token.read_bytes()
    imprint = hashlib.sha256((archive / "log" / "checkpoint").read_bytes()).digest()
    for place in (sound.index(imprint) + 7, sound.index(imprint) + 40, len(sound) - 3):
        token.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
        assert not openssl_verifies(token, keys)
        assert list(problems(archive, "--tsa-cert", keys.ca)) == [f"log/ts/{token.name}"], place


@pytest.mark.parametrize("content", [b"", b"\x30\x03\x02\x01\x00", b"<html>"])
def test_a_token_that_is_none(archive: Path, keys: Keys, content: bytes) -> None:
    token = stamp(archive, keys)
    token.write_bytes(content)
    assert "cannot be read" in problems(archive)[f"log/ts/{token.name}"]


def test_an_altered_and_a_missing_checkpoint(archive: Path, keys: Keys) -> None:
    token = stamp(archive, keys)
    checkpoint = token.with_suffix(".checkpoint")
    checkpoint.write_bytes(checkpoint.read_bytes() + b"\n")
    assert "other octets" in problems(archive)[f"log/ts/{token.name}"]
    checkpoint.unlink()
    assert f"{checkpoint.name} beside it is missing" in problems(archive)[f"log/ts/{token.name}"]


def test_a_stamp_under_another_number(archive: Path, keys: Keys) -> None:
    """Both files renamed together are a token over the checkpoint, and none over so many records."""
    token = stamp(archive, keys)
    for path in (token, token.with_suffix(".checkpoint")):
        path.rename(path.with_stem("1"))
    assert list(problems(archive)) == ["log/ts/1.tsr"]


@pytest.mark.parametrize("later", [0, 2])
def test_a_log_that_was_altered_before_the_stamp(archive: Path, keys: Keys, later: int) -> None:
    """Whether anything came in since or not; the catalogue, which remembers the tree, is not asked."""
    token = stamp(archive, keys)
    if later:
        store(archive, some(later, seed=9))
    assert problems(archive) == {}
    log = archive / "log" / "00000001.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"by":"digest"', b'"by":"hearse"', 1))
    assert "altered since" in problems(archive, "--tsa-cert", keys.ca)[f"log/ts/{token.name}"]


def test_an_archive_that_was_made_up_anew_cannot_take_over_a_stamp(archive: Path, keys: Keys, tmp_path: Path) -> None:
    token = stamp(archive, keys)
    forged = tmp_path / "forged"
    store(forged, some(3, seed=5))
    shutil.copy(archive / "FORMAT", forged / "FORMAT")
    shutil.copytree(token.parent, forged / "log" / "ts")
    assert "altered since" in problems(forged)[f"log/ts/{token.name}"]


def test_a_signature_nobody_trusted_has_made(archive: Path, keys: Keys, tmp_path: Path) -> None:
    token = stamp(archive, keys)
    others = tsa.make(tmp_path / "others")
    assert not openssl_verifies(token, others)
    assert "signature cannot be proven" in problems(archive, "--tsa-cert", others.ca)[f"log/ts/{token.name}"]
    unproven = run(archive, "--verify")
    assert unproven.code == SOUND and "Who signed them was not proven" in unproven.stdout


# ---- what fails, in one sentence, and leaves nothing


def assert_refused(result: Result, archive: Path, code: int, *words: str) -> None:
    assert result.code == code and not (archive / "log" / "ts").exists(), result
    assert len(result.stderr.splitlines()) == 1 and all(word in result.stderr for word in words), result


def another_imprint(query: bytes) -> bytes:
    """The query, about other octets: the first OCTET STRING of 32 is the hash."""
    at = query.index(b"\x04\x20") + 2
    return query[:at] + bytes(32) + query[at + 32 :]


def another_nonce(query: bytes) -> bytes:
    """The nonce stands before the last field, certReq (BOOLEAN TRUE: three octets)."""
    return query[:-4] + bytes([query[-4] ^ 1]) + query[-3:]


def another_hash(query: bytes) -> bytes:
    """A hash this authority does not take: sha512's identifier ends in 3 where sha256's ends in 1."""
    return query.replace(bytes.fromhex("0609608648016503040201"), bytes.fromhex("0609608648016503040203"))


@pytest.mark.parametrize(
    ("alter", "words"),
    [
        (another_imprint, ["it is about other octets"]),
        (another_nonce, ["another nonce"]),
        (another_hash, ["PKIStatus 2", "'"]),
        (lambda query: b"nonsense", ["PKIStatus 2", "Bad request format or system error."]),
    ],
    ids=["imprint", "nonce", "refused", "refused-with-words"],
)
def test_an_authority_that_lies_or_refuses(
    archive: Path, keys: Keys, alter: Callable[[bytes], bytes], words: list[str]
) -> None:
    with Authority(keys, alter=alter) as authority:
        assert_refused(run(archive, "--tsa", authority.url), archive, LATER, authority.url, *words)


def test_an_old_answer_played_again(archive: Path, keys: Keys) -> None:
    with Authority(keys) as authority:
        run(archive, "--tsa", authority.url)
    shutil.rmtree(archive / "log" / "ts")
    with Authority(keys, answer=authority.answers[0]) as replaying:
        assert_refused(run(archive, "--tsa", replaying.url), archive, LATER, "another nonce")


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (b"<html>", 200, "is it the URL of a time-stamping authority?"),
        (b"\x30\x03\x02\x01\x00", 200, "it cannot be read"),
        (b"\x30" + bytes(1 << 20), 200, "is it the URL of a time-stamping authority?"),
        (b"", 503, "HTTP status 503 Service Unavailable"),
    ],
    ids=["html", "der", "endless", "http-status"],
)
def test_what_is_no_answer(archive: Path, keys: Keys, answer: bytes, status: int, words: str) -> None:
    with Authority(keys, answer=answer, status=status) as authority:
        assert_refused(run(archive, "--tsa", authority.url), archive, LATER, authority.url, words)


def test_nobody_there(archive: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
    url = f"http://{HOST}:{port}/"
    assert_refused(run(archive, "--tsa", url), archive, LATER, url, "Connection refused")


def test_a_server_that_says_nothing(archive: Path) -> None:
    with socket.create_server((HOST, 0)) as silent:
        url = f"http://{HOST}:{silent.getsockname()[1]}/"
        assert_refused(run(archive, "--tsa", url, "--timeout", "0.2"), archive, LATER, url, "timed out")


def test_https_is_verified(archive: Path, keys: Keys, certificates: Certificates) -> None:
    with Authority(keys, tls=certificates.server_context("good")) as authority:
        refused = run(archive, "--tsa", authority.url)
    assert_refused(refused, archive, CONFIGURATION, authority.url, "certificate")
    assert authority.queries == []


def test_a_stamp_signed_by_nobody_trusted_is_not_kept(archive: Path, keys: Keys, tmp_path: Path) -> None:
    others = tsa.make(tmp_path / "others")
    with Authority(keys) as authority:
        refused = run(archive, "--tsa", authority.url, "--tsa-cert", others.ca)
    assert_refused(refused, archive, CONFIGURATION, authority.url, "signature cannot be proven")


def test_a_checkpoint_that_is_not_of_this_log_is_not_stamped(archive: Path, keys: Keys) -> None:
    store(archive, some(1, seed=9))
    checkpoint = archive / "log" / "checkpoint"
    for content in (b"nonsense", checkpoint.read_bytes().replace(b"\n", b"\n1", 1)):
        checkpoint.write_bytes(content)
        with Authority(keys) as authority:
            refused = run(archive, "--tsa", authority.url)
        assert_refused(refused, archive, DAMAGED, str(checkpoint), "mailmove verify")
        assert authority.queries == []


def test_without_the_extra(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "rfc3161_client.py").write_text("raise ImportError('hidden')\n")
    refused = run(archive, "--verify", env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{REPO}"})
    assert_refused(refused, archive, CONFIGURATION, "pip install 'mailmove[timestamp]'")


@pytest.mark.parametrize(
    ("args", "code"),
    [
        ((), USAGE),
        (("--verify",), USAGE),
        (("--verify", "--tsa", "http://localhost/"), USAGE),
        (("--tsa", "ftp://localhost/"), USAGE),
        (("--tsa", "localhost"), USAGE),
        (("--tsa", "http://[::1/"), USAGE),
        (("--tsa", "http://localhost/\r\nX: y"), USAGE),
        (("--tsa", "http://me:secret@localhost/"), USAGE),
        (("--tsa", "http://localhost/", "--tsa-cert", "/nonexistent"), CONFIGURATION),
        (("--tsa", "http://localhost/", "--tsa-cert", "/dev/null"), CONFIGURATION),
    ],
)
def test_bad_input_is_one_sentence(archive: Path, args: tuple[str, ...], code: int) -> None:
    result = run(archive, *args)
    assert_refused(result, archive, code)
    assert "secret" not in result.stderr
