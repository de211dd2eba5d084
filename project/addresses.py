"""Parsers of host names, addresses and origins in variables. Values in, values out: nothing is looked up here."""

import re
from ipaddress import IPv6Address, ip_address, ip_network
from typing import NoReturn

from environs import ValidationError

from project.variables import unquoted_items

_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", re.IGNORECASE)
_ALLOWED = re.compile(r"\*|\.?[a-z0-9-]+(\.[a-z0-9-]+)*|\[[0-9a-f:.]+\]")
_ORIGIN = re.compile(
    r"(?P<scheme>https?)://((\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(:(?P<port>[0-9]{1,5}))?"
)
META = "meta"
_PORTS = {"http": "80", "https": "443"}
_EMAIL = re.compile(r"(\.\*|[^\s|*@]+)@[^\s|*@]+")
"""An address, or `.*` in place of the name: Flower lets in whoever has one, so only names may be left open."""
_PATH = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")


def _fail(sentence: str) -> NoReturn:
    raise ValidationError(sentence)


def host_names(value: str) -> list[str]:
    """Return ALLOWED_HOSTS as Django compares them: in small letters, IPv6 addresses in brackets."""
    hosts = [_allowed(item) for item in unquoted_items(value)]
    if not hosts:
        _fail("names no host.")
    return hosts


def _allowed(item: str) -> str:
    host = bracketed(item.strip("[]")) if ":" in item else item.lower().removesuffix(".")
    if not _ALLOWED.fullmatch(host):
        _fail("must be host names, such as hooks.example.com or .example.com, without scheme, port or path.")
    return host


def listen_address(value: str) -> str:
    """Return HOOKLINE_HOST: an address without brackets, or a name."""
    inner = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    try:
        return str(ip_address(inner))
    except ValueError:
        if inner != value or not _NAME.fullmatch(value) or re.fullmatch(r"[0-9.]+", value):
            _fail("must be an address, such as 127.0.0.1, 0.0.0.0, ::1 or ::, or a host name, without a port.")
        return value.lower()


def origins(value: str) -> list[str]:
    """Return HOOKLINE_TRUSTED_ORIGINS as browsers send them: in small letters, without a path or the scheme's port."""
    return [_origin(item.lower().removesuffix("/")) for item in unquoted_items(value)]


def _origin(item: str) -> str:
    found = _ORIGIN.fullmatch(item)
    if not found or (found["port"] and not 0 < int(found["port"]) < 65536):
        _fail("must be origins, such as https://hooks.example.com:8443 or https://*.example.com, without a path.")
    if found["port"] == _PORTS[found["scheme"]]:
        return item.rpartition(":")[0]
    return item


def networks(value: str) -> list[str]:
    """Return networks of IPv4 or IPv6, each as `ip_network` takes it; a single address is a network too."""
    try:
        found = [str(ip_network(item)) for item in unquoted_items(value)]
    except ValueError:
        found = []
    if not found:
        _fail("must be addresses or networks, such as 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32, without host bits.")
    if any(item.endswith("/0") for item in found):
        _fail("must not be all addresses.")
    return found


def hook_addresses(value: str) -> list[str]:
    """Return networks, and `meta` first if it is among them: what GitHub's API names."""
    given = unquoted_items(value)
    others = [item for item in given if item != META]
    return [META] * (META in given) + (networks(",".join(others)) if others or not given else [])


def url_prefix(value: str) -> str:
    """Return a path without slashes around it, or an empty text for none."""
    path = value.strip("/")
    if path and not _PATH.fullmatch(path):
        _fail("must be a path of letters, digits, hyphens and underscores, such as flower.")
    return path


def email_pattern(value: str) -> str:
    """Return FLOWER_AUTH, or an empty text for none: addresses separated by `|`, or a pattern: `.*@example.com`."""
    addresses = value.split("|") if value else []
    if not all(map(_EMAIL.fullmatch, addresses)) or ("*" in value and len(addresses) > 1):
        _fail("must be e-mail addresses, separated by |, or one pattern such as .*@example.com.")
    return value


def redirect_uri(value: str) -> str:
    """Return FLOWER_OAUTH2_REDIRECT_URI, or an empty text for none: the URL of Flower's page for signing in."""
    scheme, _, rest = value.partition("://")
    origin, _, path = rest.partition("/")
    if value and not (_ORIGIN.fullmatch(f"{scheme}://{origin}".lower()) and _PATH.fullmatch(path)):
        _fail("must be the URL of Flower's page for signing in, such as https://console.example.com/flower/login.")
    return value


def bracketed(address: str) -> str:
    """Return an IPv6 address in brackets, as in a URL; return anything else unchanged."""
    try:
        return f"[{IPv6Address(address)}]"
    except ValueError:
        return address
