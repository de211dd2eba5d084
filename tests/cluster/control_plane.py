"""The control plane: etcd, the API server, the controller manager and the scheduler, as processes of this machine."""

import contextlib
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.cluster.credentials import API_PORT, Credentials
from tests.cluster.network import HOST, SERVICES
from tests.cluster.programs import program
from tests.faults.servers import OwnProcess, stable_port
from tests.support.processes import wait_until


class Component(OwnProcess):
    """One program with its flags, and its output in a directory of its own."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name, self.directory = name, directory / name
        self.directory.mkdir()
        super().__init__(self.directory)

    def start(self, flags: Mapping[str, object], *, prefix: tuple[str, ...] = ()) -> None:
        arguments = [f"--{flag}={_text(value)}" for flag, value in flags.items()]
        self.launch(*prefix, program(self.name), *arguments)

    def log(self) -> str:
        return (self.directory / "output.log").read_text(errors="replace")


@contextlib.contextmanager
def control_plane(directory: Path, credentials: Credentials) -> Iterator[None]:
    """Run the four of them."""
    etcd, api, manager, scheduler = components = [
        Component(name, directory) for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
    ]
    client, peer = (f"http://127.0.0.1:{stable_port()}" for _ in range(2))
    try:
        etcd.start(_etcd(etcd.directory / "data", client, peer))
        api.start(_api_server(credentials, client))
        # The roles of the other two are made by then. One that starts sooner gives up.
        wait_until(lambda: _is_ready(credentials), what="the API server to be ready")
        manager.start(_controller_manager(credentials))
        scheduler.start(_scheduler(credentials))
        yield
    finally:
        for component in reversed(components):
            component.end()


def _is_ready(credentials: Credentials) -> bool:
    command = [program("kubectl"), f"--kubeconfig={credentials.administrator}", "get", "--raw", "/readyz"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _etcd(data: Path, client: str, peer: str) -> dict[str, object]:
    return {
        "data-dir": data,
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"default={peer}",
    }


def _api_server(credentials: Credentials, etcd: str) -> dict[str, object]:
    kubelet_certificate, kubelet_key = credentials.client("kube-apiserver", group="system:masters")
    proxy_certificate, proxy_key = credentials.client("front-proxy")
    return {
        "etcd-servers": etcd,
        "bind-address": HOST,
        "advertise-address": HOST,
        "secure-port": API_PORT,
        "tls-cert-file": credentials.server_certificate,
        "tls-private-key-file": credentials.server_key,
        "client-ca-file": credentials.authority,
        "authorization-mode": ("Node", "RBAC"),
        "enable-admission-plugins": "NodeRestriction",
        "service-cluster-ip-range": SERVICES,
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": credentials.service_accounts_key,
        "service-account-signing-key-file": credentials.service_accounts_key,
        "kubelet-client-certificate": kubelet_certificate,
        "kubelet-client-key": kubelet_key,
        "kubelet-preferred-address-types": "InternalIP",
        # For the metrics API, which another server answers.
        "requestheader-client-ca-file": credentials.authority,
        "requestheader-allowed-names": "front-proxy",
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "proxy-client-cert-file": proxy_certificate,
        "proxy-client-key-file": proxy_key,
        "enable-aggregator-routing": True,
    }


def _controller_manager(credentials: Credentials) -> dict[str, object]:
    return {
        **_alone("system:kube-controller-manager", credentials),
        "use-service-account-credentials": True,
        "service-account-private-key-file": credentials.service_accounts_key,
        "root-ca-file": credentials.authority,
    }


def _scheduler(credentials: Credentials) -> dict[str, object]:
    return _alone("system:kube-scheduler", credentials)


def _alone(user: str, credentials: Credentials) -> dict[str, object]:
    """Return the flags of a component of which there is one."""
    config = credentials.kubeconfig(user)
    configs = dict.fromkeys(("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"), config)
    return {**configs, "bind-address": "127.0.0.1", "leader-elect": False}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, tuple) else str(value)
