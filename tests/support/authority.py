"""A certificate authority of the tests' own, by OpenSSL's command line; its servers, and a TLS side for a plain one."""

import ssl
import subprocess
from pathlib import Path

NAMES = "DNS:localhost,IP:127.0.0.1"
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Authority:
    """Signs certificates in a directory. `certificate` is what a client has to trust."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._directory = directory
        self.certificate = directory / "authority.pem"
        _openssl(
            *("req", "-x509", *_KEY, "-keyout", self._key, "-out", self.certificate, "-days", "2"),
            *("-subj", "/CN=Authority of a test", "-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        )

    @property
    def _key(self) -> Path:
        return self._directory / "authority.key"

    def server(self, *, names: str = NAMES, days: int = 2) -> tuple[Path, Path]:
        """Return a new server's certificate and key; with `days` below 0 it has expired."""
        return self._signed("/CN=A server of a test", f"subjectAltName={names}", days=days)

    def client(self, name: str, *, group: str = "") -> tuple[Path, Path]:
        """Return the certificate and key of a client, whose server knows it by name and group."""
        return self._signed(f"/O={group}/CN={name}" if group else f"/CN={name}", "extendedKeyUsage=clientAuth", days=2)

    def _signed(self, subject: str, extension: str, *, days: int) -> tuple[Path, Path]:
        stem = self._directory / f"signed{len(list(self._directory.iterdir()))}"
        key, request, certificate, extensions = (stem.with_suffix(f".{end}") for end in ("key", "csr", "pem", "ext"))
        extensions.write_text(f"{extension}\nauthorityKeyIdentifier=keyid\nkeyUsage=critical,digitalSignature")
        _openssl("req", *_KEY, "-keyout", key, "-out", request, "-subj", subject)
        signed_by = ("-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial")
        _openssl(
            *("x509", "-req", "-in", request, *signed_by, "-days", days, "-extfile", extensions, "-out", certificate)
        )
        return certificate, key

    def context(self, *, names: str = NAMES, days: int = 2) -> ssl.SSLContext:
        """Return what a TLS server needs."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*self.server(names=names, days=days))
        return context


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
