"""Keeps tests on this machine: no test, and no product code run inside one, connects anywhere but to loopback.

Strategy: connect() itself is replaced, for every way to it ends there (ssl, poplib, imapclient). The failure is that of
pytest.fail, which is no Exception, so that no handler of the code under test can take it for a network error.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterator
from typing import Any

import pytest


def is_loopback(family: int, address: object) -> bool:
    """Whether connecting a socket of this family to this address stays on this machine."""
    if family == socket.AF_UNIX:
        return True
    host = address[0] if isinstance(address, tuple) and address else ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextlib.contextmanager
def only_loopback() -> Iterator[None]:
    """Within this block any other connection fails the test that makes it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))
        yield


def _guarded(original: Any) -> Any:
    def connect(self: socket.socket, address: Any) -> Any:
        if not is_loopback(self.family, address):
            self.close()  # whoever called is not expecting this, and would leave it open
            pytest.fail(f"a test tried to connect to {address!r}: only loopback is allowed", pytrace=True)
        return original(self, address)

    return connect
