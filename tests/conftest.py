"""Fixtures that every test may use, and what pytest says about a run.

Strategy: whatever depends on this machine (a server, a corpus, a random seed) is asked for by a fixture, and that alone
decides between "here it is", "skipped, because ..." and, where MAILMOVE_REQUIRE_SERVERS=1, "failed, because ...".
"""

from __future__ import annotations

import itertools
import os
import random
import re
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.servers import certs
from tests.servers import cyrus as cyrus_server
from tests.servers import dovecot as dovecot_server
from tests.servers import postfix as postfix_server
from tests.servers.cyrus import Cyrus
from tests.servers.dovecot import Dovecot
from tests.support import mails
from tests.support.loopback import only_loopback

collect_ignore = ["bench"]
_SEED = pytest.StashKey[int]()
_users = itertools.count(1)


# ---- Options and what is printed


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="whole matrices, not a seeded sample (also: MAILMOVE_FULL=1)")


def pytest_configure(config: pytest.Config) -> None:
    given = os.environ.get("MAILMOVE_SEED", "")
    config.stash[_SEED] = int(given) if given else random.SystemRandom().randrange(1 << 32)
    os.environ["MAILMOVE_SEED"] = str(config.stash[_SEED])  # the same one for processes that pytest-xdist starts


def pytest_report_header(config: pytest.Config) -> list[str]:
    return [
        f"mailmove: seed {config.stash[_SEED]} (again with MAILMOVE_SEED={config.stash[_SEED]}), "
        + ("whole matrices" if _is_full(config) else "samples (whole matrices with --full)"),
        f"dovecot: {dovecot_server.missing() or dovecot_server.version()}",
        f"cyrus: {cyrus_server.missing() or cyrus_server.version()}",
        f"postfix: {postfix_server.missing() or postfix_server.version()}",
    ]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked `full` run only when asked for."""
    if not _is_full(config):
        for item in items:
            if item.get_closest_marker("full"):
                item.add_marker(pytest.mark.skip(reason="part of the whole matrix: run with --full"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and "seed" in getattr(item, "fixturenames", ()):
        report.sections.append(("seed", f"this run again: MAILMOVE_SEED={item.config.stash[_SEED]}"))
    return report


def _is_full(config: pytest.Config) -> bool:
    return bool(config.getoption("--full")) or os.environ.get("MAILMOVE_FULL") == "1"


# ---- What a test may depend on


def unavailable(reason: str) -> None:
    """This machine cannot run the test: skipped, or failed where that must not happen (in CI)."""
    if os.environ.get("MAILMOVE_REQUIRE_SERVERS") == "1":
        pytest.fail(f"{reason} (and MAILMOVE_REQUIRE_SERVERS=1 forbids to skip)", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def loopback_only() -> Iterator[None]:
    with only_loopback():
        yield


@pytest.fixture(scope="session")
def full(pytestconfig: pytest.Config) -> bool:
    """Whether whole matrices are wanted."""
    return _is_full(pytestconfig)


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """The run's random seed: in the header, and in the report of a test that failed with it."""
    return pytestconfig.stash[_SEED]


@pytest.fixture(scope="session")
def needs_dovecot() -> None:
    """For tests that start a Dovecot of their own kind: `with Dovecot(ssl=False) as server`."""
    if reason := dovecot_server.missing():
        unavailable(reason)


@pytest.fixture(scope="session")
def dovecot(needs_dovecot: None) -> Iterator[Dovecot]:
    """One Dovecot for all tests; each uses a `user` of its own."""
    with Dovecot() as server:
        yield server


@pytest.fixture(scope="session")
def needs_lmtp() -> None:
    """For tests that start a Dovecot with LMTP: `with Dovecot(lmtp=True) as server`."""
    if reason := dovecot_server.lmtp_missing():
        unavailable(reason)


@pytest.fixture(scope="session")
def needs_postfix() -> None:
    """For tests that start a Postfix: `with Postfix(tls=False) as server`."""
    if reason := postfix_server.missing():
        unavailable(reason)


@pytest.fixture(scope="session")
def needs_sink() -> None:
    """For tests that start a smtp-sink: `with Sink(lmtp=True) as server`."""
    if reason := postfix_server.sink_missing():
        unavailable(reason)


@pytest.fixture(scope="session")
def needs_cyrus() -> None:
    """For tests that start a Cyrus of their own kind: `with Cyrus(extra="munge8bit: no") as server`."""
    if reason := cyrus_server.missing():
        unavailable(reason)


@pytest.fixture(scope="session")
def cyrus(needs_cyrus: None) -> Iterator[Cyrus]:
    """One Cyrus for all tests, as it comes; each uses a `user` of its own."""
    with Cyrus() as server:
        yield server


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> certs.Certificates:
    """A CA, and one good and three bad certificates, for servers in this process."""
    if reason := certs.missing():
        unavailable(reason)
    return certs.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def user(request: pytest.FixtureRequest) -> str:
    """A user name nobody had before, which tells whose it is."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:40]
    return f"{name}.{next(_users)}"


@pytest.fixture
def new_user(request: pytest.FixtureRequest) -> Callable[[], str]:
    """More than one of them."""
    return lambda: f"extra.{next(_users)}"


@pytest.fixture
def archive_dir(tmp_path: Path) -> Path:
    """Where a test's archive goes; not there yet."""
    return tmp_path / "mail.mailmove"


@pytest.fixture(scope="session")
def corpus() -> Callable[[], Iterator[tuple[str, bytes]]]:
    """mails.corpus, or skipped where it is absent (it is never part of a clone, so never a failure)."""
    if reason := mails.corpus_missing():
        pytest.skip(reason)
    return mails.corpus
