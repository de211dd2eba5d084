"""Where Hookline's programs listen, and how they are reached from here: HOOKLINE_HOST is an address or a name.

`::` is every address there is, of IPv4 too; a name stands for its first address, as the machine's resolver has it.
"""

import contextlib
import errno
import socket
from ipaddress import ip_address

EVERY_ADDRESS = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104  Each caller means it.


def address_of(host: str) -> str:
    """Return the address to listen on. Raises OSError where the name has none."""
    with contextlib.suppress(ValueError):
        return str(ip_address(host))
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except UnicodeError:
        raise OSError(errno.EINVAL, "no host name") from None
    return str(found[0][4][0])


def open_socket(address: str) -> socket.socket:
    """Return a socket of the address's family, not yet bound; of `::` one that serves IPv4 too."""
    opened = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    if opened.family == socket.AF_INET6:
        # Some systems have it otherwise unless told.
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return opened


def try_port(host: str, port: int, *, is_shared: bool = False) -> None:
    """Bind a port and leave it again, for servers that end in a traceback where they cannot. Raises OSError.

    `is_shared` is for a server that lets others of its kind have the port too.
    """
    address = address_of(host)
    with open_socket(address) as candidate:
        if is_shared:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        candidate.bind((address, port))


def in_words(error: OSError, *, variable: str) -> str:
    """Return why nobody can listen there, by the variable to change: that of the port, or HOOKLINE_HOST."""
    is_the_port = error.errno in (errno.EADDRINUSE, errno.EACCES)
    return f"{variable if is_the_port else 'HOOKLINE_HOST'}: nothing can be served there ({error.strerror})."


def url_of(host: str, port: int) -> str:
    """Return how the server there is reached from this machine, for people and for ourselves."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "localhost"}.get(host, host)  # noqa: S104  Nobody listens here.
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"
