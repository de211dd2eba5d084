"""Checks the URLs of database and broker at start. A URL that two libraries could read differently is refused.

kombu, redis-py and dj_database_url cut a URL at its first `#`, `/` or `?`, and would fail later, each in its own way.
No message shows a part of the URL: it may be a password.
"""

import re
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from environs import ValidationError

_NEVER = re.compile(r"[#\x00-\x1f\x7f]|%(?![0-9A-Fa-f]{2})")
"""What no accepted URL holds: a fragment, control characters (which urlsplit drops), a % that escapes nothing."""
_HOSTS = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[\w.,%-]*)(?::(?P<port>[0-9]{1,5}))?")
_DJANGO_OPTIONS = {"assume_role", "server_side_binding"}
"""Django's own options that are accepted. Not `pool`, which would keep connections that an outage has ended, and not
`isolation_level`: the inbox's statements are written for PostgreSQL's default."""


def whole_url(value: str, *, example: str) -> SplitResult:
    """Return the parts of a URL, or refuse it if it holds a character that had to be percent-encoded."""
    try:
        if _is_whole(value):
            return urlsplit(value)
    except ValueError:
        pass
    raise ValidationError(
        f"cannot be read as one whole URL, such as {example}; percent-encode what belongs to a user name, a "
        "password or a path: # as %23, / as %2F, ? as %3F, @ as %40, : as %3A, ; as %3B, % as %25."
    )


def broker_nodes(value: str, *, schemes: tuple[str, ...]) -> list[str]:
    """Return the URLs of a broker's nodes, which are separated by semicolons."""
    nodes = [node.strip() for node in value.split(";") if node.strip()]
    all_parts = [whole_url(node, example="amqp://user:password@host:5672/vhost") for node in nodes]
    used = {node.partition("://")[0] for node in nodes}
    if len(used) != 1 or not used <= set(schemes):
        raise ValidationError(
            f"must start with one of {', '.join(s + '://' for s in schemes)}, each node with the same."
        )
    if used == {"filesystem"}:
        if nodes != ["filesystem://"]:
            raise ValidationError("filesystem:// takes no path; HOOKLINE_DATA_DIR says where its folders are.")
        return nodes
    if not all(map(_has_one_host, all_parts)):
        raise ValidationError("must name one host in each URL; the URLs of several nodes are separated by semicolons.")
    if used <= {"redis", "rediss"} and not re.fullmatch("/?[0-9]{0,9}", all_parts[0].path):
        raise ValidationError("must end in the number of a database of Redis, as redis://host:6379/0 does.")
    if any(parts.query for parts in all_parts):
        raise ValidationError(
            "takes no options after '?': TLS has HOOKLINE_BROKER_CA_FILE and HOOKLINE_BROKER_TLS_VERIFY. "
            "Percent-encode a ? that belongs to a name or a password as %3F."
        )
    if len(nodes) > 1 and not used <= {"amqp", "amqps"}:
        # A cluster of RabbitMQ has each queue once. Two Redis servers would both have it: a relay might publish to one,
        # and the workers consume from the other.
        raise ValidationError("only RabbitMQ may have several nodes; give the one address of Redis's primary.")
    return nodes


def check_database_options(options: dict[str, Any]) -> None:
    """Refuse options that libpq does not have. Otherwise each connection would fail for that reason."""
    from psycopg import ProgrammingError
    from psycopg.conninfo import make_conninfo, timeout_from_conninfo  # Not where the database is SQLite.

    given = {name: value for name, value in options.items() if name not in _DJANGO_OPTIONS}
    try:
        is_known = bool(timeout_from_conninfo(given) and make_conninfo("", **given)) or not given
    except ProgrammingError:
        is_known = False
    if not is_known or any(isinstance(value, list) for value in given.values()):
        raise ValidationError(
            "has an option after '?' that PostgreSQL's library does not take, or has one twice. "
            "Percent-encode a ? that belongs to a name or a password as %3F."
        )


def check_sqlite(name: str, options: dict[str, Any]) -> None:
    """Refuse a name that cannot be a database file, and every option other than `timeout`."""
    if options.keys() - {"timeout"} or not isinstance(options.get("timeout", 0), int | float):
        raise ValidationError("has an option after '?' that is not timeout, in seconds. Percent-encode a ? as %3F.")
    path = Path(name)
    if name == ":memory:" or path.is_dir():
        raise ValidationError("must name a file, as sqlite:///hookline.sqlite3 does: every process has to find it.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValidationError(f"is in a directory that cannot be made ({error.strerror}).") from None


def _is_whole(value: str) -> bool:
    """Tell whether all libraries find the same user, host, port and path. Raises ValueError if it is not UTF-8."""
    _, separator, rest = value.partition("://")
    authority = re.split("[/?]", rest, maxsplit=1)[0]
    user, _, hosts = authority.rpartition("@")
    # An @ after the host belongs to a password, whose beginning would be taken for the host.
    if not separator or _NEVER.search(value) or "@" in user + rest[len(authority) :]:
        return False
    found = _HOSTS.fullmatch(hosts)
    return found is not None and 1 <= int(found["port"] or 1) <= 65535 and "\0" not in unquote(rest, errors="strict")


def _has_one_host(parts: SplitResult) -> bool:
    """Tell whether the URL names one host that a resolver accepts: no label of it is empty or too long."""
    try:
        return not set(",%") & set(parts.hostname or ",") and bool(str(parts.hostname).encode("idna"))
    except UnicodeError:
        return False
