"""Which addresses a destination may have. Values in, values out; no I/O.

Whoever may set a destination's URL must not reach what only this network can: a cloud's metadata, the database, the
cluster. So an address counts as what it means, in whatever form it comes: one of IPv4 inside one of IPv6 is that of
IPv4. https://cheatsheetseries.owasp.org/cheatsheets/Server_Side_Request_Forgery_Prevention_Cheat_Sheet.html
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_METADATA = frozenset({IPv4Address("168.63.129.16")})
"""Azure's, a public address: https://learn.microsoft.com/en-us/azure/virtual-network/what-is-ip-address-168-63-129-16"""
_TRANSLATED = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
"""A translator (NAT64) takes the last 32 bits for an address of IPv4: https://www.rfc-editor.org/rfc/rfc8215"""
_COMPATIBLE = IPv6Network("::/96")
_PRIVATE: tuple[IPv4Network | IPv6Network, ...] = (
    *map(IPv4Network, ("10.0.0.0/8", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")),
    *map(IPv6Network, ("::1/128", "fc00::/7")),
)
"""What may be allowed to a destination. No link-local address ever is: there are the clouds' metadata."""

Address = IPv4Address | IPv6Address


def is_allowed(text: str, *, allow_private: bool) -> bool:
    """Tell whether an address, as a resolver writes it, may be connected to."""
    address = _meant(ip_address(text))
    if address in _METADATA:
        return False
    if allow_private and any(address in network for network in _PRIVATE if network.version == address.version):
        return True
    return address.is_global and not (address.is_multicast or address.is_reserved or _is_site_local(address))


def _meant(address: Address) -> Address:
    """Return the address of IPv4 that one of IPv6 leads to, if it does."""
    if not isinstance(address, IPv6Address):
        return address
    if address.ipv4_mapped or address.sixtofour:
        return address.ipv4_mapped or address.sixtofour or address
    if any(address in network for network in _TRANSLATED):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _COMPATIBLE and int(address) > 1:
        return IPv4Address(int(address))
    # Of Teredo, whoever writes the address chooses the server as well: it stays one of IPv6, and is not global.
    return address


def _is_site_local(address: Address) -> bool:
    return isinstance(address, IPv6Address) and address.is_site_local
