"""What `make run` does before it starts anything: lock, ports, migrations, the operator's account, leftovers."""

import errno
import fcntl
import io
import math
import subprocess
import sys
from pathlib import Path
from typing import IO

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from deploy.leftovers import remove_leftovers
from project.celery import app
from project.embedded import generated_secrets
from webhooks import local_run
from webhooks.listening import cannot_listen, try_port
from webhooks.subscriptions.installed import installed_subscriptions

_EXIT_SECONDS = 30
"""How long a worker may take to exit after its last handler has ended."""


class QuickstartError(Exception):
    """Why `make run` cannot go on: a sentence or two for the person who ran it."""


def load_settings() -> None:
    """Set Django up. Refuse other environments than the embedded one, and an empty password."""
    import django

    try:
        django.setup()
    except ImproperlyConfigured as error:
        raise QuickstartError(str(error)) from None
    if settings.HOOKLINE_ENVIRONMENT != "embedded":
        raise QuickstartError(
            "HOOKLINE_ENVIRONMENT: `make run` sends samples to itself and is for the embedded environment alone."
        )
    if not settings.HOOKLINE_OPERATOR_PASSWORD:
        raise QuickstartError("HOOKLINE_OPERATOR_PASSWORD: is empty; give one, or leave the variable out.")


def lock_data_directory(directory: Path) -> IO[str]:
    """Return the open lock file, which holds the process id of the supervisor that runs there."""
    lock = (directory / local_run.LOCK).open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        raise QuickstartError(
            f"Hookline already runs on {shown(directory)} (process {lock.read().strip() or 'unknown'}): "
            "stop that one with Ctrl-C, or give another HOOKLINE_DATA_DIR."
        ) from None
    return lock


def note_process(lock: IO[str], pid: int) -> None:
    """Write the holder's process id into the lock file."""
    lock.truncate(0)
    lock.write(str(pid))
    lock.flush()


def check_ports() -> None:
    """Refuse ports that are in use or may not be opened."""
    if settings.HOOKLINE_PORT == settings.HOOKLINE_FLOWER_PORT:
        raise QuickstartError(f"HOOKLINE_PORT and HOOKLINE_FLOWER_PORT are both {settings.HOOKLINE_PORT}.")
    for name in ("HOOKLINE_PORT", "HOOKLINE_FLOWER_PORT"):
        _check_port(name, getattr(settings, name))


def _check_port(name: str, port: int) -> None:
    try:
        try_port(settings.HOOKLINE_HOST, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise QuickstartError(f"Port {port} is in use: give another one in {name}.") from None
        raise QuickstartError(cannot_listen(error, variable=name)) from None


def prepare() -> bool:
    """Bring database, account and broker folder up to date; return whether the operator's account is new."""
    _check_and_migrate()
    _clean_broker()
    return _create_operator()


def _check_and_migrate() -> None:
    try:
        call_command("check", stdout=io.StringIO())
    except SystemCheckError as error:
        raise QuickstartError(str(error)) from None
    call_command("migrate", verbosity=0, interactive=False)


def _create_operator() -> bool:
    users = get_user_model().objects
    if users.filter(username=settings.HOOKLINE_OPERATOR_USER).exists():
        return False
    users.create_superuser(settings.HOOKLINE_OPERATOR_USER, password=settings.HOOKLINE_OPERATOR_PASSWORD)
    return True


def fault_of_changes() -> str:
    """Run `check` and `migrate` in a new process, which imports the changed apps; return what is wrong, or ""."""
    for command in (["check"], ["migrate", "--no-input", "-v0"]):
        done = subprocess.run(  # noqa: S603
            [sys.executable, "manage.py", *command], capture_output=True, text=True, check=False
        )
        if done.returncode:
            return done.stderr.strip() or done.stdout.strip()
    return ""


def own_folders() -> list[Path]:
    """Return the folders of the apps that HOOKLINE_APPS names."""
    configs = list(apps.get_app_configs())
    return [Path(config.path) for config in configs[len(configs) - len(settings.HOOKLINE_APPS) :]]


def password_is_generated() -> bool:
    """Tell whether Hookline generated the operator's password."""
    generated = generated_secrets(settings.HOOKLINE_DATA_DIR)
    return bool(generated["HOOKLINE_OPERATOR_PASSWORD"] == settings.HOOKLINE_OPERATOR_PASSWORD)


def _clean_broker() -> None:
    options = app.conf.broker_transport_options
    if "control_folder" in options:
        remove_leftovers(messages=Path(options["data_folder_in"]), control=Path(options["control_folder"]))


def stop_seconds() -> int:
    """Return how long a warm stop may take: the longest time limit of a handler, and the worker's own exit."""
    limits = [subscription.time_limit for subscription in installed_subscriptions()]
    return math.ceil(max(limits, default=settings.HOOKLINE_TIME_LIMIT)) + _EXIT_SECONDS


def shown(path: Path) -> str:
    """Return the path for a message: a relative one if it is inside the current directory."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
