"""Who is who in the cluster: one authority, a certificate for each component, and kubeconfigs that hold them."""

import base64
import json
import subprocess
from pathlib import Path

from tests.cluster.network import HOST, SERVICES
from tests.support.authority import Authority

API_PORT = 6443
API_URL = f"https://{HOST}:{API_PORT}"
SERVER_NAMES = f"DNS:kubernetes.default.svc,DNS:localhost,IP:127.0.0.1,IP:{HOST},IP:{SERVICES[1]}"


class Credentials:
    """The files of it, in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._authority = Authority(directory / "authority")
        self.authority = self._authority.certificate
        self.server_certificate, self.server_key = self._authority.server(names=SERVER_NAMES)
        self.service_accounts_key = directory / "service-accounts.key"
        subprocess.run(
            ["openssl", "genrsa", "-out", str(self.service_accounts_key), "2048"], check=True, capture_output=True
        )

        self.administrator = self.kubeconfig("administrator", group="system:masters")

    def client(self, name: str, *, group: str = "") -> tuple[Path, Path]:
        return self._authority.client(name, group=group)

    def kubeconfig(self, name: str, *, group: str = "") -> Path:
        """Return a kubeconfig of a user of this name and group. JSON is YAML."""
        certificate, key = self.client(name, group=group)
        path = self._directory / f"{name.replace(':', '-')}.kubeconfig"
        cluster = {"server": API_URL, "certificate-authority-data": _base64(self.authority)}
        user = {"client-certificate-data": _base64(certificate), "client-key-data": _base64(key)}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "hookline", "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "hookline", "context": {"cluster": "hookline", "user": name}}],
            "current-context": "hookline",
        }
        path.write_text(json.dumps(content))
        path.chmod(0o600)
        return path


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
