"""A node: containerd and a kubelet in a network and a mount namespace of their own, and a cgroup of their own.

They see their usual folders (/run/containerd, /var/lib/kubelet …), which are the node's alone.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.cluster import network
from tests.cluster.control_plane import Component
from tests.cluster.credentials import Credentials
from tests.cluster.programs import program
from tests.support.processes import wait_until

PAUSE_IMAGE = "localhost/hookline-pause:1"
OWN_FOLDERS = (
    *("/run/containerd", "/var/lib/containerd", "/var/lib/kubelet", "/var/log/pods", "/var/log/containers"),
    *("/etc/cni/net.d", "/var/lib/cni", "/run/netns"),
)
CGROUPS = Path("/sys/fs/cgroup")
SYSTEM = "system"
"""The cgroup of containerd, and of what it starts beside containers, below a node's."""
_ENTER = """
set -eu
mount --make-rprivate /
for folder in $FOLDERS; do
    mkdir -p "$folder"
    mount --bind "$OWN$folder" "$folder"
done
mount --make-rshared /
for cgroup in $CGROUPS; do
    echo $$ >"$cgroup/cgroup.procs"
done
exec "$@"
"""


class Node:
    """One node, by its number from 1 on."""

    def __init__(self, number: int, directory: Path, credentials: Credentials) -> None:
        self.number, self.name = number, f"node-{number}"
        self.address = network.node_address(number)
        self._directory = directory / self.name
        self._directory.mkdir()
        self._own = self._directory / "own"
        for folder in OWN_FOLDERS:
            (self._own / folder[1:]).mkdir(parents=True)
        self._containerd = Component("containerd", self._directory)
        self._kubelet = Component("kubelet", self._directory)
        self._credentials = credentials
        self._cgroup = f"/hookline-{self.name}"
        # Of each controller; of the one hierarchy where all are in one.
        parents = [CGROUPS] if (CGROUPS / "cgroup.controllers").exists() else sorted(CGROUPS.iterdir())
        self._cgroups = [one / self._cgroup[1:] for one in parents if (one / "cgroup.procs").exists()]

    def start(self) -> None:
        self._clear_cgroups()  # Of a cluster that was killed.
        for folder in self._cgroups:
            _make_cgroup(folder)
            _make_cgroup(folder / SYSTEM)
        self._start_containerd()
        self._start_kubelet()

    def _start_containerd(self) -> None:
        (self._own / "etc/cni/net.d/10-hookline.conflist").write_text(json.dumps(_cni(self.number)))
        config = self._containerd.directory / "config.toml"
        config.write_text(_CONTAINERD.format(pause=PAUSE_IMAGE))
        enter = ("nsenter", f"--net={network.namespace_file(self.number)}", "unshare", "--mount", "sh", "-c", _ENTER)
        variables = [
            *(f"OWN={self._own}", f"FOLDERS={' '.join(OWN_FOLDERS)}"),
            f"CGROUPS={' '.join(str(one / SYSTEM) for one in self._cgroups)}",
        ]
        command = (*enter, "sh", program("containerd"), "--config", str(config))
        self._containerd.launch("env", *variables, *command)
        wait_until(self._answers, what=f"{self.name}'s containerd to answer")

    def _answers(self) -> bool:
        return self._try_inside(program("ctr"), "version").returncode == 0

    def _start_kubelet(self) -> None:
        config = self._kubelet.directory / "config.json"
        config.write_text(json.dumps(_kubelet(self.address, self._cgroup, self._credentials.authority)))
        flags = {
            "config": config,
            "kubeconfig": self._credentials.kubeconfig(f"system:node:{self.name}", group="system:nodes"),
            "hostname-override": self.name,
            "node-ip": self.address,
            "cert-dir": self._kubelet.directory / "certificates",
        }
        self._kubelet.start(flags, prefix=self._prefix())

    @contextlib.contextmanager
    def cut_off(self) -> Iterator[None]:
        """Let the node go silent: its pods run on, but reach nothing, and nobody reaches them."""
        network.cut(self.number)
        try:
            yield
        finally:
            network.mend(self.number)

    def load(self, archive: Path) -> None:
        """Import images from an archive."""
        self.inside(program("ctr"), "--namespace", "k8s.io", "images", "import", str(archive))

    def inside(self, *command: str) -> str:
        """Run a command in the node's namespaces, and return what it printed."""
        done = self._try_inside(*command)
        assert done.returncode == 0, f"{self.name}: {' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    def _try_inside(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self._prefix(), *command], capture_output=True, text=True, timeout=300, check=False)

    def _prefix(self) -> tuple[str, ...]:
        return (program("nsenter"), f"--target={self._containerd.pid}", "--net", "--mount")

    def logs(self) -> dict[str, str]:
        return {f"{self.name} {component.name}": component.log() for component in (self._containerd, self._kubelet)}

    def stop(self) -> None:
        """End the kubelet, every container and containerd, and remove what they leave."""
        self._kubelet.end()
        self._containerd.end()
        self._clear_cgroups()
        shutil.rmtree(self._own, ignore_errors=True)

    def _clear_cgroups(self) -> None:
        wait_until(self._has_ended, what=f"{self.name}'s processes to end")
        for folder in self._cgroups:
            _remove(folder)

    def _has_ended(self) -> bool:
        """Kill what still runs, and tell whether nothing did."""
        files = (file for folder in self._cgroups for file in folder.rglob("cgroup.procs"))
        left = {int(process) for file in files for process in file.read_text().split()}
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        return not left


@contextlib.contextmanager
def running_node(number: int, directory: Path, credentials: Credentials) -> Iterator[Node]:
    with network.node_network(number):
        node = Node(number, directory, credentials)
        try:
            node.start()
            yield node
        finally:
            node.stop()


def _make_cgroup(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name in ("cpuset.cpus", "cpuset.mems"):  # Version 1 lets no process in before these are set.
        if (folder / name).exists():
            (folder / name).write_text((folder.parent / name).read_text())


def _remove(cgroup: Path) -> None:
    for folder in sorted((one for one in cgroup.rglob("*") if one.is_dir()), reverse=True):
        folder.rmdir()
    if cgroup.is_dir():
        cgroup.rmdir()


def _cni(number: int) -> Mapping[str, object]:
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": network.pod_range(number)}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    return {"cniVersion": "0.4.0", "name": "hookline", "plugins": [bridge]}


def _kubelet(address: str, cgroup: str, authority: Path) -> Mapping[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": address,
        "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": str(authority)}},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup,
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        "resolvConf": "",
        # The disk is the machine's, and its fill says nothing of the pods.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
    }


_CONTAINERD = """\
version = 2
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"""
