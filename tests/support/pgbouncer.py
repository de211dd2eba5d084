"""A pgbouncer for tests, in transaction mode: each transaction of a client may get another session of PostgreSQL."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

import psycopg

from tests.support import services
from tests.support.processes import free_port, wait_until

_CONFIGURATION = """\
[databases]
* = host={host} port={port} user={user} {password}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {sessions}
"""


@contextmanager
def pgbouncer(directory: Path, database_url: str, *, sessions: int) -> Iterator[str]:
    """Start one in front of a database; yield the URL that leads through it to as many sessions at most."""
    parts, own_port = urlsplit(database_url), free_port()
    password = f"password={unquote(parts.password)}" if parts.password else ""
    configuration = directory / "pgbouncer.ini"
    configuration.write_text(
        _CONFIGURATION.format(
            host=parts.hostname, port=parts.port or 5432, user=parts.username or "postgres", password=password,
            own_port=own_port, sessions=sessions,
        )
    )  # fmt: skip
    # It refuses to run as root, but reads its configuration before it becomes another user.
    user = ["--user", "nobody"] if os.geteuid() == 0 else []
    with (directory / "pgbouncer.log").open("wb") as log:
        process = subprocess.Popen(
            [str(services.PROGRAMS["pgbouncer"]), *user, str(configuration)], stdout=log, stderr=subprocess.STDOUT
        )
    url = urlunsplit(parts._replace(netloc=f"{parts.username or 'postgres'}@127.0.0.1:{own_port}"))
    try:
        wait_until(lambda: _answers(url), what="pgbouncer to answer")
        yield url
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True
