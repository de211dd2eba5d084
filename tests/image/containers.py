"""One installation of Hookline in containers, on the real PostgreSQL and RabbitMQ, or Redis, of the tests.

It has a database of its own and, on RabbitMQ, a vhost. The containers run as a cluster would: not as root, on a
read-only file system of which only /tmp can be written. They share this machine's network.
"""

import atexit
import contextlib
import os
import secrets
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import urllib3

from tests.support.deliveries import DISPATCH, PATH, body_of, headers_for
from tests.support.processes import ROOT, free_port, wait_until
from tests.support.stack import fresh_broker, fresh_postgres

IMAGE = os.environ.get("HOOKLINE_TEST_IMAGE", "")
"""The image to test; `make image-test` names it."""

# The limits are those of a machine that may raise none; cgroupfs is for one without systemd.
CONFIGURATION = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
"""
_http = urllib3.PoolManager(maxsize=16, retries=False)


def _why_not() -> str:
    absent = [tool for tool in ("podman", "buildah", "runc", "rabbitmqctl") if shutil.which(tool) is None]
    if absent or not IMAGE:
        return f"not run for want of a service: {absent[0] if absent else 'the image, see make image-test'}"
    return ""


WHY_NOT = _why_not()
"""Why no container can be run here, in the words of which the suite's last line makes one; empty if they can."""


@dataclass(slots=True)
class Installation:
    """A database, a broker, and the containers that work on them."""

    directory: Path
    image: str
    database_url: str
    broker_url: str
    port: int = field(default_factory=free_port)
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    containers: list[str] = field(default_factory=list)

    def settings(self) -> dict[str, str]:
        """Return what production must be given; the secrets come as files, as they are mounted there."""
        return {
            "ALLOWED_HOSTS": "127.0.0.1",
            "DATABASE_URL": self.database_url,
            "BROKER_URL": self.broker_url,
            "SECRET_KEY_FILE": "/run/secrets/SECRET_KEY",
            "GITHUB_WEBHOOK_SECRETS_FILE": "/run/secrets/GITHUB_WEBHOOK_SECRETS",
            "HOOKLINE_OPERATOR_PASSWORD": "a-password-for-tests",
            "HOOKLINE_PORT": str(self.port),
            "HOOKLINE_DRAIN_SECONDS": "1",
            "HOOKLINE_PROBE_PORT": "0",  # One network for all of them.
        }

    def mounted_secrets(self) -> Path:
        directory = self.directory / "secrets"
        directory.mkdir(mode=0o755, exist_ok=True)
        for name, value in {"SECRET_KEY": secrets.token_urlsafe(50), "GITHUB_WEBHOOK_SECRETS": self.secret}.items():
            if not (directory / name).exists():
                (directory / name).write_text(value)
                (directory / name).chmod(0o444)
        return directory

    def start(self, *arguments: str, **settings: str) -> "Container":
        """Start a role in a container of its own."""
        name = f"hookline-test-{arguments[0]}-{uuid.uuid4().hex[:8]}"
        self.podman("run", "--detach", *self._options(name, settings), self.image, *arguments)
        self.containers.append(name)
        return Container(name, self)

    @contextlib.contextmanager
    def running(self, *arguments: str, **settings: str) -> Iterator["Container"]:
        """Run a role beside the test; its container is gone at the end."""
        container = self.start(*arguments, **settings)
        try:
            yield container
        except BaseException:
            print(f"== {container.name}\n{container.logs()}")
            raise
        finally:
            container.remove()

    def manage(self, *arguments: str) -> str:
        """Run a command in a container to its end and return what it printed."""
        options = self._options(f"hookline-test-{uuid.uuid4().hex[:8]}", {})
        return self.podman("run", "--rm", *options, self.image, *arguments)

    def shell(self, script: str) -> str:
        """Run a shell, as root, in the image that is tested."""
        return self.podman("run", "--rm", "--network", "none", "--user", "0", "--entrypoint", "sh", IMAGE, "-c", script)

    def _options(self, name: str, settings: dict[str, str]) -> list[str]:
        environment = self.settings() | settings
        return [
            *("--name", name, "--network", "host", "--read-only", "--read-only-tmpfs=false", "--tmpfs", "/tmp"),
            *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
            *("--volume", f"{self.mounted_secrets()}:/run/secrets:ro"),
            *(f"--env={variable}={value}" for variable, value in environment.items()),
        ]

    def podman(self, *arguments: str) -> str:
        """Run podman as it is configured for these tests; return what it printed."""
        done = self.try_podman(*arguments)
        assert done.returncode == 0, f"podman {' '.join(arguments[:2])}: {done.stdout}{done.stderr}"
        return done.stdout

    def try_podman(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        configuration = self.directory / "containers.conf"
        configuration.write_text(CONFIGURATION)
        environment = os.environ | {"CONTAINERS_CONF": str(configuration)}
        return subprocess.run(["podman", *arguments], env=environment, capture_output=True, text=True, timeout=180)

    def remove_all(self) -> None:
        for name in self.containers:
            Container(name, self).remove()

    def send(self, action: str, **client_payload: Any) -> int:
        """POST a signed delivery and return the status."""
        body = body_of(action=action, client_payload=client_payload)
        headers = headers_for(body, secret=self.secret, event=DISPATCH)
        url = f"http://127.0.0.1:{self.port}{PATH}"
        return _http.request("POST", url, body=body, headers=headers, timeout=20).status

    def send_many(self, count: int, action: str, **client_payload: Any) -> None:
        """Have so many deliveries acknowledged."""
        with ThreadPoolExecutor(8) as senders:
            statuses = set(senders.map(lambda _: self.send(action, **client_payload), range(count)))
        assert statuses == {202}

    def status(self, path: str, *, port: int = 0) -> int:
        """GET a page of the receiver, or of another port; 0 if nobody answers."""
        try:
            return _http.request("GET", f"http://127.0.0.1:{port or self.port}{path}", timeout=2).status
        except urllib3.exceptions.HTTPError:
            return 0

    def answers(self, path: str, *, port: int = 0) -> bool:
        return self.status(path, port=port) == 200

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the inbox in SQL."""
        with psycopg.connect(self.database_url) as connection:
            return list(connection.execute(query))

    def count(self, state: str, *, handler: str) -> int:
        query = f"SELECT count(*) FROM webhooks_job WHERE state = '{state}' AND handler = '{handler}'"
        return int(self.rows(query)[0][0])

    def wait_for(self, state: str, *, jobs: int, handler: str) -> None:
        """Wait until so many of the handler's jobs are in this state."""
        wait_until(lambda: self.count(state, handler=handler) == jobs, what=f"{jobs} jobs of {handler} {state}")


@dataclass(frozen=True, slots=True)
class Container:
    """One running role."""

    name: str
    installation: Installation

    def stop(self, *, seconds: int = 60) -> tuple[int, float]:
        """Send TERM as kubelet does, KILL after the grace; return the exit status and how long it took."""
        begun_at = time.monotonic()
        self.installation.podman("stop", "--time", str(seconds), self.name)
        return self.exit_status, time.monotonic() - begun_at

    @property
    def exit_status(self) -> int:
        return int(self._inspect("{{.State.ExitCode}}"))

    @property
    def restarts(self) -> int:
        return int(self._inspect("{{.RestartCount}}"))

    @property
    def finished_at(self) -> datetime:
        """When it ended, by this machine's clock, which is also the database's."""
        return datetime.fromisoformat(self._inspect('{{.State.FinishedAt.Format "2006-01-02T15:04:05.000000Z07:00"}}'))

    def processes(self, *columns: str) -> list[list[str]]:
        """Return these columns of each of its processes, as `podman top` names them."""
        lines = self.installation.podman("top", self.name, *columns).splitlines()[1:]
        return [line.rstrip().split(maxsplit=len(columns) - 1) for line in lines]

    def remove(self) -> None:
        self.installation.podman("rm", "--force", "--ignore", "--time", "0", self.name)

    def executes(self, *command: str) -> bool:
        """Whether this command succeeds inside of it."""
        return self.installation.try_podman("exec", self.name, *command).returncode == 0

    def logs(self) -> str:
        done = self.installation.try_podman("logs", self.name)
        return done.stdout + done.stderr

    def _inspect(self, template: str) -> str:
        return self.installation.podman("inspect", "--format", template, self.name).strip()


@cache
def team_image() -> str:
    """Build a team's image with handlers of its own, once a run, as deploy/image/README.md says; return its name."""
    name = f"localhost/hookline-test:{os.getpid()}"
    atexit.register(subprocess.run, ["buildah", "rmi", name], capture_output=True)
    build = ["buildah", "bud", "--isolation", "chroot", "--quiet", "--build-arg", f"HOOKLINE={IMAGE}", "--tag", name]
    subprocess.run([*build, str(ROOT / "tests" / "image")], check=True, capture_output=True, timeout=300)
    return name


@contextlib.contextmanager
def running_installation(directory: Path, *, broker: str = "rabbitmq") -> Iterator[Installation]:
    """A migrated database, a receiver and a relay; all is gone at the end, and its logs are shown after a failure."""
    with contextlib.ExitStack() as cleanup:
        database_url = cleanup.enter_context(fresh_postgres())
        broker_url = cleanup.enter_context(fresh_broker(broker))
        installation = Installation(directory, team_image(), database_url, broker_url)
        cleanup.callback(installation.remove_all)
        try:
            installation.manage("migrate", "-v0")
            installation.start("receiver")
            installation.start("relay")
            wait_until(lambda: installation.answers("/readyz"), what="the receiver to be ready")
            yield installation
        except BaseException:
            for name in installation.containers:
                print(f"== {name}\n{Container(name, installation).logs()}")
            raise
