"""From which address a request comes, as far as that can be believed. Values in, values out."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from webhooks.github.meta import Network

Address = IPv4Address | IPv6Address


def sender_address(peer: str, forwarded: str, *, proxies: Sequence[Network]) -> Address | None:
    """Return the sender's address, or None if that is no address.

    `peer` is the other end of the connection, `forwarded` the value of X-Forwarded-For. Each proxy adds at the end whom
    it was called by, and anybody may send a value to begin with. So entries are read from the end, each only if the one
    who has added it is a trusted proxy.
    """
    address = address_of(peer)
    for entry in reversed(forwarded.split(",") if forwarded else ()):
        if not is_within(address, proxies):
            break
        address = address_of(entry)
    return address


def is_within(address: Address | None, networks: Sequence[Network]) -> bool:
    return address is not None and any(address in network for network in networks)


def address_of(text: str) -> Address | None:
    """Return an address that may have a port or a zone; one of IPv4 also if IPv6 stands around it. Else None."""
    host = text.strip()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    # ::ffff:192.0.2.1 is how a listener for both kinds sees 192.0.2.1.
    return getattr(address, "ipv4_mapped", None) or address
