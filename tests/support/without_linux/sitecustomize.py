"""Takes away from a Python process what only Linux has. Python imports it at its start if its folder is on PYTHONPATH.

What is left is no macOS: the system below is the same. But whatever asks for something that macOS lacks fails as it
would there: by the platform's name, by a missing attribute, by a file that is not there, or by a refused socket.
"""

import builtins
import ctypes
import errno
import io
import os
import select
import signal
import socket
import sys
import sysconfig
import types
from typing import Any

MISSING: dict[Any, tuple[str, ...]] = {
    os: (
        "O_TMPFILE",
        "eventfd",
        "memfd_create",
        "pidfd_open",
        "pipe2",
        "posix_fadvise",
        "sched_getaffinity",
        "sched_setaffinity",
        "setresuid",
        "waitid",  # macOS has it from Python 3.13 on.
    ),
    select: ("epoll",),
    signal: ("SIGPWR", "SIGRTMAX", "SIGRTMIN", "SIGSTKFLT", "pidfd_send_signal", "sigtimedwait", "sigwaitinfo"),
    socket: ("AF_NETLINK", "AF_PACKET", "SOCK_CLOEXEC", "SOCK_NONBLOCK", "SO_PEERCRED", "TCP_INFO", "TCP_USER_TIMEOUT"),
}
"""Names that Python's modules have on Linux and not on macOS."""
MISSING_CALLS = ("prctl", "malloc_trim", "pidfd_open")
"""Functions of Linux's C library."""


def _is_hidden(path: Any) -> bool:
    if isinstance(path, int):
        return False
    name = os.fsdecode(os.fspath(path))
    return name == "/proc" or name.startswith("/proc/")


def _without_proc(function: Any) -> Any:
    """Let a function of `os` find nothing in /proc."""

    def call(path: Any = ".", *args: Any, **kwargs: Any) -> Any:
        if _is_hidden(path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return function(path, *args, **kwargs)

    return call


def _hide_files_and_names() -> None:
    for module, names in MISSING.items():
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    for name in ("access", "listdir", "lstat", "open", "readlink", "scandir", "stat"):
        setattr(os, name, _without_proc(getattr(os, name)))
    builtins.open = io.open = _without_proc(io.open)


def _hide_calls() -> None:
    find = ctypes.CDLL.__getattr__

    def find_other(library: ctypes.CDLL, name: str) -> Any:
        if name in MISSING_CALLS:
            raise AttributeError(f"{name}: symbol not found")
        return find(library, name)

    ctypes.CDLL.__getattr__ = find_other  # type: ignore[method-assign]


def _refuse_sockets() -> None:
    make_pair = socket.socketpair

    def socketpair(family: Any = None, kind: int = socket.SOCK_STREAM, proto: int = 0) -> Any:
        if kind == socket.SOCK_SEQPACKET:
            raise OSError(errno.EPROTONOSUPPORT, os.strerror(errno.EPROTONOSUPPORT))
        return make_pair(family, kind, proto)

    socket.socketpair = socketpair  # type: ignore[assignment]


def _change_platform() -> None:
    # urllib imports it on macOS, to ask the system for its proxies.
    proxies: Any = types.ModuleType("_scproxy")
    proxies._get_proxy_settings = proxies._get_proxies = dict
    sys.modules["_scproxy"] = proxies
    sysconfig.get_config_vars()  # Kept from here on: it is read from a module with the platform in its name.
    sys.platform = "darwin"


_hide_files_and_names()
_hide_calls()
_refuse_sockets()
_change_platform()
