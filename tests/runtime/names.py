"""Everything that Hookline imports: its modules, what they import inside functions, and what is named by a string.

Strings are found where Django, Celery and kombu look for them, so that a new one is checked without a word here.
"""

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from tests.support.processes import ROOT

PACKAGES = ("project", "webhooks", "workers", "deploy")
NOT_A_MODULE = ("AUTH_USER_MODEL",)
"""Settings whose dotted value names something else."""
FOR_TESTS = (ROOT / "webhooks" / "testing" / "plugin.py",)
"""Modules that no program imports: they need what only tests have."""
OF_EXTRAS = ("mozilla_django_oidc", "opentelemetry")
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.\w+)+(?::\w+)?|[A-Za-z_]\w*:\w+")
_LOCKED = re.compile(r"^([\w.-]+)(?:\[[^]]*\])?==", re.MULTILINE)


def unlocked_packages(lock: Path) -> set[str]:
    """Return what is installed here beside the lock file's packages and pip, which installs them."""
    locked = {_normal(name) for name in _LOCKED.findall(lock.read_text())}
    return {_normal(one.metadata["Name"]) for one in distributions()} - locked - {"pip"}


def missing_names() -> Iterator[str]:
    """Yield a sentence for each name that cannot be imported. Django must have been set up."""
    for name in sorted({*own_modules(), *own_imports(), *named_in_settings(), *named_in_celery(), *plugins()}):
        try:
            resolve(name)
        except Exception as error:
            if _is_of_an_extra(error):
                continue
            yield f"{name} cannot be imported: {type(error).__name__}: {error}"
    yield from missing_transports()


def _is_of_an_extra(error: Exception) -> bool:
    """Tell whether a package is missing that Hookline does without: its extra is not installed here."""
    return isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in OF_EXTRAS


def resolve(name: str) -> object:
    """Import `package.module`, `package.module.attribute` or `package.module:attribute`, and return what it names."""
    module, _, attribute = name.partition(":")
    try:
        found: object = import_module(module)
    except ModuleNotFoundError as error:
        parent, _, last = module.rpartition(".")
        if error.name != module or not parent:
            raise
        found = getattr(import_module(parent), last)
    if not attribute or hasattr(found, attribute):
        return getattr(found, attribute) if attribute else found
    return import_module(f"{module}.{attribute}")


def own_modules() -> Iterator[str]:
    """Yield the name of every module of ours."""
    for path in _sources():
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def own_imports() -> Iterator[str]:
    """Yield what our modules import, inside functions as well."""
    for path in _sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from (f"{node.module}:{alias.name}" for alias in node.names)


def named_in_settings() -> Iterator[str]:
    """Yield what Django's settings name: apps, middleware, backends, formatters, and those of its defaults."""
    from django.conf import settings

    from project.environment import DATABASE_SCHEMES, database

    for name in dir(settings):
        if name.isupper() and name not in NOT_A_MODULE:
            yield from _dotted(getattr(settings, name))
    for scheme in DATABASE_SCHEMES:
        path = f"//{ROOT / 'names.sqlite3'}" if scheme == "sqlite" else "//user@host/name"
        yield f"{database(f'{scheme}:{path}')['ENGINE']}.base"


def named_in_celery() -> Iterator[str]:
    """Yield what Celery names: its configuration, the application's and the tasks' parts, and a worker's steps."""
    from celery import concurrency
    from celery.worker import WorkController

    from project.celery import app
    from workers.runs.consumer import Consumer

    yield from _dotted(dict(app.conf))
    yield concurrency.ALIASES["prefork"]  # type: ignore[attr-defined]  # The stubs lack it.
    for part in (type(app), app.Task):
        for one in part.__mro__:
            # What a class says of itself, such as __module__, is no name of a part.
            yield from _dotted({name: value for name, value in vars(one).items() if not name.startswith("__")})
    yield from _dotted([WorkController.Blueprint.default_steps, vars(Consumer.Blueprint)["default_steps"]])


def plugins() -> Iterator[str]:
    """Yield what installed packages add to Celery and kombu, such as Flower's command."""
    for point in (point for distribution in distributions() for point in distribution.entry_points):
        if point.group.startswith(("celery.", "kombu.")):
            yield point.value


def missing_transports() -> Iterator[str]:
    """Yield a sentence for each kind of broker whose transport cannot be imported."""
    from kombu import Connection

    from project.broker_settings import broker_settings
    from project.environment import BROKER_SCHEMES

    for scheme in BROKER_SCHEMES:
        try:
            url = broker_settings(f"{scheme}://", data_directory=ROOT)["CELERY_BROKER_URL"]
            Connection(url).get_transport_cls()
        except Exception as error:
            yield f"{scheme}:// has no transport: {type(error).__name__}: {error}"


def _sources() -> Iterator[Path]:
    found = (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))
    return (path for path in found if path not in FOR_TESTS)


def _dotted(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if _DOTTED.fullmatch(str(value)):  # It may be lazy, and only look like a string.
            yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _dotted(one)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for one in value:
            yield from _dotted(one)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
