"""The addresses that Hookline's programs listen on, and the URLs by which they are reached from this machine.

HOOKLINE_HOST is an IP address or a host name. `::` means every address of this machine, also those of IPv4. For a name,
the first address that the machine's resolver returns is used.
"""

import contextlib
import errno
import socket
from ipaddress import ip_address

EVERY_ADDRESS = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104  Callers ask for every address on purpose.


def address_of(host: str) -> str:
    """Return the address to listen on. Raises OSError if the name has none."""
    with contextlib.suppress(ValueError):
        return str(ip_address(host))
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except UnicodeError:
        raise OSError(errno.EINVAL, "no host name") from None
    return str(found[0][4][0])


def open_socket(address: str) -> socket.socket:
    """Return a socket for the address, not yet bound. One for `::` serves IPv4 too."""
    opened = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    if opened.family == socket.AF_INET6:
        # On some systems an IPv6 socket serves IPv4 only if this option is cleared.
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return opened


def try_port(host: str, port: int, *, is_shared: bool = False) -> None:
    """Bind a port and close it again. Raises OSError. For servers that end with a traceback if they cannot bind it.

    `is_shared`: the server shares its port with other processes (SO_REUSEPORT).
    """
    address = address_of(host)
    with open_socket(address) as candidate:
        if is_shared:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        candidate.bind((address, port))


def cannot_listen(error: OSError, *, variable: str) -> str:
    """Return why binding failed, and the variable to change: `variable`, which is the port's, or HOOKLINE_HOST."""
    is_the_port = error.errno in (errno.EADDRINUSE, errno.EACCES)
    return f"{variable if is_the_port else 'HOOKLINE_HOST'}: nothing can be served there ({error.strerror})."


def url_of(host: str, port: int) -> str:
    """Return the URL by which a browser, or a program of Hookline, reaches the server from this machine."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "localhost"}.get(host, host)  # noqa: S104  It is compared, not listened on.
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"
