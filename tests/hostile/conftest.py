"""Fixtures for tests with a hostile IMAP server: peers, and sessions with them that end when the test does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from mailmove.targets.imap import ImapTarget, open_imap
from mailmove.targets.imap_login import ImapEndpoint
from mailmove.tls import TlsPolicy
from tests.hostile.imap_peer import ImapPeer, ImapQuirks, Opener
from tests.hostile.imap_sasl_peer import Begin, ImapSaslPeer
from tests.support.client import HOST, PASSWORD


@pytest.fixture
def peers() -> Iterator[Callable[..., ImapPeer]]:
    with contextlib.ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(ImapPeer(*args, **options))


@pytest.fixture
def enter() -> Iterator[Opener]:
    """Logs in to a peer; closed when the test ends."""
    with contextlib.ExitStack() as stack:

        def opened(
            peer: ImapPeer,
            *,
            password: str = PASSWORD,
            user: str = "me",
            plaintext: bool = True,
            timeout: float = 10,
            policy: TlsPolicy | None = None,
            ok: Callable[[], bool] = lambda: True,
        ) -> ImapTarget:
            way = policy or TlsPolicy()
            endpoint = ImapEndpoint(HOST, peer.port, user, False, way, allow_plaintext=plaintext, timeout=timeout)
            target = open_imap(endpoint, password, ok)
            stack.callback(target.close)
            return target

        yield opened


@pytest.fixture
def selected(peers: Callable[..., ImapPeer], enter: Opener) -> Callable[..., tuple[ImapPeer, ImapTarget]]:
    """A peer with quirks, and a session with it that has selected INBOX."""

    def both(
        timeout: float = 10, ok: Callable[[], bool] = lambda: True, **quirks: object
    ) -> tuple[ImapPeer, ImapTarget]:
        peer = peers(ImapQuirks(**quirks))  # type: ignore[arg-type]
        target = enter(peer, timeout=timeout, ok=ok)
        target.select("INBOX")
        return peer, target

    return both


@pytest.fixture
def begin() -> Iterator[Begin]:
    """A peer that knows nothing but how to be logged in to."""
    with contextlib.ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(ImapSaslPeer(*args, **options))
