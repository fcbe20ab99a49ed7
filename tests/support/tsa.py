"""A time-stamping authority of our own: `openssl ts` behind a small HTTP server on loopback (RFC 3161 section 3.4).

    with Authority(keys) as tsa: mailmove("timestamp", "--tsa", tsa.url, ...)

Strategy: the answers are openssl's own, made by a key that a CA of ours vouches for. It sends its CA's certificate
along, and its own name is so long that the two are not in DER's order, as with authorities in the world. A lie is told
before openssl is asked (`alter` changes the query), so that even a wrong answer is one that is well signed.
"""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.client import HOST

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-config", "openssl.cnf")
CONFIG = """[req]
distinguished_name = name
prompt = no
[name]
CN = by -subj
[ca]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[stamps]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[tsa]
default_tsa = ours
[ours]
serial = serial
signer_cert = tsa.pem
signer_key = tsa.key
certs = ca.pem
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
ess_cert_id_alg = sha256
"""


def missing() -> str:
    """Why there can be no authority here, or ""."""
    return "" if shutil.which("openssl") else "openssl is not installed"


@dataclass(frozen=True)
class Keys:
    """A CA and an authority that it vouches for, in a folder."""

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def reply(self, query: bytes) -> bytes:
        """openssl's answer to a query: a token, or a refusal."""
        (self.folder / "query").write_bytes(query)
        openssl(self.folder, "ts", "-reply", "-config", "openssl.cnf", "-queryfile", "query", "-out", "reply")
        return (self.folder / "reply").read_bytes()


def make(folder: Path) -> Keys:
    """New keys, in `folder` (made when missing)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "openssl.cnf").write_text(CONFIG)
    (folder / "serial").write_text("01\n")
    openssl(folder, "req", "-x509", *KEY, "-days", "3650", "-subj", "/CN=CA", "-extensions", "ca",
            "-keyout", "ca.key", "-out", "ca.pem")  # fmt: skip
    openssl(folder, "req", *KEY, "-subj", f"/CN={'authority' * 7}", "-keyout", "tsa.key", "-out", "tsa.csr")
    sign = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "3650")
    openssl(folder, "x509", "-req", "-in", "tsa.csr", *sign, "-extfile", "openssl.cnf", "-extensions", "stamps",
            "-out", "tsa.pem")  # fmt: skip
    return Keys(folder)


def openssl(folder: Path, *args: object) -> str:
    """Its stdout."""
    done = subprocess.run(["openssl", *map(str, args)], cwd=folder, capture_output=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise RuntimeError(f"openssl {args}: {done.stderr.decode(errors='replace')}")
    return done.stdout.decode()


class Authority:
    """Answers every POST. `queries` and `answers` are what it got and gave.

    `alter` changes a query before openssl sees it; `answer`, if given, is sent instead of openssl's; `status`: HTTP's.
    """

    def __init__(
        self,
        keys: Keys,
        *,
        alter: Callable[[bytes], bytes] = bytes,
        answer: bytes | None = None,
        status: int = 200,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.queries: list[bytes] = []
        self.answers: list[bytes] = []
        self._keys, self._alter, self._answer, self._status = keys, alter, answer, status
        self._server = ThreadingHTTPServer((HOST, 0), self._handler())
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://localhost:{self._server.server_address[1]}/tsr"
        self._thread = threading.Thread(target=self._server.serve_forever, name="Authority")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def reply(self, query: bytes) -> bytes:
        self.queries.append(query)
        self.answers.append(self._keys.reply(self._alter(query)) if self._answer is None else self._answer)
        return self.answers[-1]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        authority = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.headers["Content-Type"] == "application/timestamp-query"
                answer = authority.reply(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(authority._status)
                self.send_header("Content-Type", "application/timestamp-reply")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing on stderr."""

        return Handler
