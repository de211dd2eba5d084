"""The programs of a cluster: Kubernetes' own, which `make cluster-tools` builds, and Debian's packages."""

import os
import shutil
from functools import cache
from pathlib import Path

from tests.support import services

BUILT = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")
OURS = ("metrics-server", "pause")
PACKAGES = {
    "etcd": "etcd-server",
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
}
"""Of each program the package that has it."""
ASSETS = Path(os.environ.get("KUBEBUILDER_ASSETS", ""))
"""Where Kubernetes' programs are; `make cluster-test` sets the variable, which is everybody's for this."""


@cache
def program(name: str) -> str:
    """Return a program's path."""
    path = str(ASSETS / name) if name in (*BUILT, *OURS) else shutil.which(name)
    if path is None or not Path(path).exists():
        raise FileNotFoundError(f"{name} is missing")
    return path


def why_not() -> str:
    """Say in a few words why no cluster can be started here; empty if one can."""
    if "KUBEBUILDER_ASSETS" not in os.environ:
        return "a cluster, see make cluster-test"
    if services.WORKER:
        return "a process of its own, see make cluster-test"
    if os.geteuid() != 0:
        return "root's rights, which a node needs"
    if absent := [name for name in (*BUILT, *OURS) if not (ASSETS / name).exists()]:
        return f"{absent[0]}, see make cluster-tools"
    if absent := [package for name, package in PACKAGES.items() if shutil.which(name) is None]:
        return f"Debian's package {absent[0]}"
    return ""
