"""pymap's in-memory IMAP server, built without its command line. Imported late, since pymap is an extra.

Strategy: the few objects that `pymap.main` would make from its options are made here, and each connection is handed to
pymap by us. So the port is ours, no signal handler is set, nothing is logged, no thread is started, and many servers
can live in one process. Written for pymap 0.36; what it touches there is in this file alone.
"""

from __future__ import annotations

import uuid
from argparse import Namespace

from proxyprotocol.sock import SocketInfo
from pymap.backend.dict import Config, Login
from pymap.concurrent import Subsystem
from pymap.imap import IMAPServer
from pymap.user import Passwords, UserMetadata
from pysasl.hashing import BuiltinHash

from mailmove.demo.background import HOST, Handler, Reader, Writer

_NOT_USED = object()
"""Stands where pymap would otherwise look for something in the environment or the options."""


class _Config(Config):
    """pymap's own greeting looks up this machine's name, which takes seconds where the resolver is slow."""

    @property
    def greeting(self) -> bytes:
        return b"mailmove demo server ready"


def _config(user: str, password: str) -> Config:
    return _Config(
        Namespace(),
        host=HOST,
        port=0,
        demo_data=False,
        demo_user=user,
        demo_password=password,
        tls_enabled=False,
        ssl_context=_NOT_USED,  # or it loads what CERT_FILE in the environment names
        proxy_protocol=_NOT_USED,
        hash_context=BuiltinHash(rounds=1),  # the default half a million would guard a password everybody can read
        cpu_subsystem=Subsystem.for_asyncio(),
        invalid_user_sleep=0.0,
    )


async def connections(user: str, password: str) -> Handler:
    """A fresh server with this one user; the result serves one connection at each call."""
    config = _config(user, password)
    config.apply_context()
    login = Login(config)
    hashed = await Passwords(config).hash_password(password)
    await login.demo_user_identity.set(UserMetadata(config, user, password=hashed))
    server = IMAPServer(login, config)

    async def serve(reader: Reader, writer: Writer) -> None:
        await server(reader, writer, SocketInfo.get(writer, None, unique_id=uuid.uuid4().bytes))

    return serve
