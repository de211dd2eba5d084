"""The cluster's network: a bridge of this machine, and behind it a network namespace for each node.

Nothing of it leads off the machine: the bridge has no other port, and no address is translated. The machine itself is
the bridge's first address; the API server, PostgreSQL and the broker are reached there.
"""

import ipaddress
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.programs import program

BRIDGE = "hookline0"
EVERYTHING = ipaddress.ip_network("10.205.0.0/16")
NODES = ipaddress.ip_network("10.205.0.0/24")
SERVICES = ipaddress.ip_network("10.206.0.0/24")
HOST = str(NODES[1])
MOST_NODES = 3


def node_address(number: int) -> str:
    return str(NODES[10 + number])


def pod_range(number: int) -> str:
    """Return the addresses of a node's pods."""
    return f"10.205.{number}.0/24"


def namespace(number: int) -> str:
    return f"hookline-node-{number}"


def namespace_file(number: int) -> Path:
    return Path("/run/netns") / namespace(number)


def cable(number: int) -> str:
    """Return the name of a node's end on this machine's side."""
    return f"hookline-n{number}"


@contextmanager
def bridge() -> Iterator[None]:
    """Have the bridge, with this machine's address on it."""
    _remove_leftovers()
    _ip("link", "add", BRIDGE, "type", "bridge")
    try:
        _ip("address", "add", f"{HOST}/{NODES.prefixlen}", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")
        yield
    finally:
        _ip("link", "delete", BRIDGE)


@contextmanager
def node_network(number: int) -> Iterator[None]:
    """Have a node's network namespace, whose pods the machine reaches by the node."""
    name, outside, inside = namespace(number), cable(number), "eth0"
    _ip("netns", "add", name)
    _ip("link", "add", outside, "type", "veth", "peer", "name", inside, "netns", name)
    try:
        _ip("link", "set", outside, "master", BRIDGE, "up")
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "address", "add", f"{node_address(number)}/{NODES.prefixlen}", "dev", inside)
        _ip("-n", name, "link", "set", inside, "up")
        _ip("-n", name, "route", "add", "default", "via", HOST)
        for other in {*range(1, MOST_NODES + 1)} - {number}:
            _ip("-n", name, "route", "add", pod_range(other), "via", node_address(other))
        _ip("netns", "exec", name, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        _ip("route", "replace", pod_range(number), "via", node_address(number), "dev", BRIDGE)
        yield
    finally:
        # A namespace is gone later than this says, and its end of the cable with it.
        _ip("link", "delete", cable(number))
        _ip("netns", "delete", name)


def cut(number: int) -> None:
    """Pull the cable of a node out: nothing reaches it any more, nor it anything."""
    _ip("link", "set", cable(number), "down")


def mend(number: int) -> None:
    _ip("link", "set", cable(number), "up")


def _remove_leftovers() -> None:
    """Remove what a cluster has left that was killed."""
    for one in Path("/run/netns").glob("hookline-node-*"):
        _ip("netns", "delete", one.name)
    for name in (BRIDGE, *map(cable, range(1, MOST_NODES + 1))):
        if Path("/sys/class/net", name).exists():
            _ip("link", "delete", name)


def _ip(*arguments: object) -> None:
    done = subprocess.run([program("ip"), *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(map(str, arguments))}: {done.stderr}"
