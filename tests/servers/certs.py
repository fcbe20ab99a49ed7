"""Certificates for loopback servers, one good and four bad ways, made by openssl in a folder of the caller's.

Strategy: one CA of our own signs a certificate for localhost (and IDN), one that has expired and one for another
host; a fourth signs itself. `openssl ca` is used because it alone can state the dates in every openssl of use.
"""

from __future__ import annotations

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

KINDS = ("good", "expired", "wrong_host", "self_signed")
PAST = ("20200101000000Z", "20200201000000Z")
VALID = ("20200101000000Z", "20491231000000Z")
IDN = "b\u00fccher.example"
OURS = f"DNS:localhost,IP:127.0.0.1,IP:0:0:0:0:0:0:0:1,DNS:{IDN.encode('idna').decode()}"
ELSEWHERE = "DNS:mail.elsewhere.example"
KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
# The key identifiers are there because Python 3.13 verifies strictly and misses them otherwise.
EXTENSIONS = "basicConstraints=CA:FALSE\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
CA_CONFIG = """[ca]
default_ca = ours
[ours]
database = index
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
"""


@dataclass(frozen=True)
class Certificates:
    """The files of one folder: `ca` is what a client trusts; a kind (KINDS) names a server's certificate and key."""

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def cert(self, kind: str = "good") -> Path:
        return self.folder / f"{kind}.pem"

    def key(self, kind: str = "good") -> Path:
        return self.folder / f"{kind}.key"

    def server_context(self, kind: str = "good") -> ssl.SSLContext:
        """For a server in this process (Peer, Proxy)."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert(kind), self.key(kind))
        return context

    def client_context(self) -> ssl.SSLContext:
        """For a client in this process that trusts our CA and checks the host name."""
        return ssl.create_default_context(cafile=str(self.ca))


def missing() -> str:
    """Why no certificate can be made here, or ""."""
    return "" if shutil.which("openssl") else "openssl is not installed"


def make(folder: Path) -> Certificates:
    """All certificates, in `folder` (made when missing)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ca.cnf").write_text(CA_CONFIG)
    (folder / "index").touch()
    _self_signed(folder, "ca", "/CN=mailmove test CA", "keyUsage=critical,keyCertSign,cRLSign")
    _self_signed(folder, "self_signed", "/CN=localhost", f"subjectAltName={OURS}")
    _issue(folder, "good", OURS, VALID)
    _issue(folder, "expired", OURS, PAST)
    _issue(folder, "wrong_host", ELSEWHERE, VALID)
    return Certificates(folder)


def _openssl(folder: Path, *args: str) -> None:
    done = subprocess.run(["openssl", *args], cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise RuntimeError(f"openssl {' '.join(args)}: {done.stderr.strip()}")


def _self_signed(folder: Path, kind: str, subject: str, extension: str) -> None:
    out = ("-keyout", f"{kind}.key", "-out", f"{kind}.pem")
    _openssl(folder, "req", *KEY, "-x509", "-days", "3650", "-subj", subject, "-addext", extension, *out)


def _issue(folder: Path, kind: str, names: str, dates: tuple[str, str]) -> None:
    (folder / f"{kind}.ext").write_text(EXTENSIONS + f"subjectAltName={names}\n")
    _openssl(folder, "req", *KEY, "-subj", f"/CN={kind}", "-keyout", f"{kind}.key", "-out", f"{kind}.csr")
    sign = ["ca", "-batch", "-notext", "-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key"]
    sign += ["-startdate", dates[0], "-enddate", dates[1], "-extfile", f"{kind}.ext"]
    _openssl(folder, *sign, "-in", f"{kind}.csr", "-out", f"{kind}.pem")
