"""Reads the environment: typed values, and the errors that name the variable.

Nothing else in Hookline looks at the environment. A bad value raises `ImproperlyConfigured` with every faulty variable
named and no value shown, since a value may be a secret.
"""

import re
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path
from ssl import create_default_context
from typing import Any, NoReturn

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from environs import EnvValidationError, ValidationError, validate

from project.addresses import (
    email_pattern,
    hook_addresses,
    host_names,
    listen_address,
    networks,
    origins,
    redirect_uri,
    url_prefix,
)
from project.connection_urls import broker_nodes, check_database_options, check_sqlite, whole_url
from project.github_access import api_token, app_id, hook_paths, private_key
from project.identity import group_roles, https_address
from project.variables import Variables, is_quoted, items, unquoted, unquoted_items
from webhooks.encryption import is_key
from webhooks.github.json_paths import PathError
from webhooks.github.redaction import Redaction, split_paths

ENVIRONMENTS = ("embedded", "production")
BROKER_SCHEMES = ("amqp", "amqps", "redis", "rediss", "filesystem")
DATABASE_SCHEMES = ("postgres", "postgresql", "sqlite")
FLOWER_PROVIDERS = tuple(
    f"flower.views.auth.{name}LoginHandler" for name in ("GoogleAuth2", "Github", "GitLab", "Okta")
)
SOURCE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,49}")
MINIMUM_SECRET_LENGTH = 16


def open_environment() -> Variables:
    """Return a reader that collects errors until `stop_on_errors` is called.

    It also reads `NAME_FILE`, the path of a file that holds the value, which is how secrets are mounted; and it takes
    values as people write them (project/variables.py).
    """
    env = Variables(eager=False)
    parsers = (webhook_secrets, encryption_keys, source_names, broker_url, authorities, database, directory, app_names)
    of_addresses = (email_pattern, host_names, https_address, listen_address, networks, origins, redirect_uri)
    of_github = (api_token, app_id, hook_addresses, hook_paths, json_paths, private_key)
    for parser in (*parsers, *of_addresses, *of_github, url_prefix, whole_number, number, group_roles):
        env.add_parser(parser.__name__, _unless_parsed(parser))
    return env


def stop_on_errors(env: Variables) -> None:
    """Raise `ImproperlyConfigured` naming every variable that could not be read."""
    faults = dict(env.faults)
    try:
        env.seal()
    except EnvValidationError as error:
        # One message for each variable, since the reader is not eager.
        for name, messages in dict(error.error_messages).items():  # type: ignore[arg-type]  # As above.
            if not faults.keys() & {name, f"{name}_FILE"}:  # Else environs only reports a missing value.
                faults[name] = " ".join(map(str, messages))
    if faults:
        raise ImproperlyConfigured("; ".join(f"{name}: {sentence}" for name, sentence in sorted(faults.items())))


def value_or_default(read: Callable[..., Any], name: str, default: Any, **options: Any) -> Any:
    """Return a value that is used before `stop_on_errors`: the default also if the value cannot be read."""
    value = read(name, default, **options)
    return default if value is None else value


def fail(sentence: str) -> NoReturn:
    """Refuse a value from inside a parser. The sentence must not show the value."""
    raise ValidationError(sentence)


def _unless_parsed(parser: Callable[..., Any]) -> Callable[..., Any]:
    # environs passes the default to the parser too. Hookline's defaults are parsed values already.
    return lambda value, **options: parser(value, **options) if isinstance(value, str) else value


def whole_number(value: str, *, lowest: int, highest: int) -> int:
    """Return a whole number within bounds, both included."""
    try:
        if lowest <= (number := int(value)) <= highest:
            return number
    except ValueError:
        pass
    fail(f"must be a whole number from {lowest} to {highest}; give one of these, or leave the variable out.")


def number(value: str, *, lowest: float, highest: float) -> float:
    """Return a number within bounds, both included."""
    try:
        if lowest <= (number := float(value)) <= highest:  # Never true of nan.
            return number
    except ValueError:
        pass
    fail(f"must be a number from {lowest:.15g} to {highest:.15g}; give one of these, or leave the variable out.")


def operator_name() -> Callable[[Any], Any]:
    # Basic authentication separates the name from the password by the first colon.
    return validate.ContainsNoneOf(":", error="must not hold a colon.")


def flower_provider() -> Callable[[Any], Any]:
    return validate.OneOf(
        FLOWER_PROVIDERS, error="must be one of Flower's classes for signing in; docs/configuration.md lists them."
    )


def release_name() -> Callable[[Any], Any]:
    return validate.Length(1, 100, error="must have 1 to 100 characters.")


def one_of(choices: Sequence[str]) -> Callable[[Any], Any]:
    return validate.OneOf(choices, error="must be one of {choices}.")


def webhook_secrets(value: str) -> list[str]:
    """Split comma-separated webhook secrets; each must be long enough to resist guessing."""
    secrets = list(items(value))
    if not secrets:
        fail("holds no secret; give at least one, as set in the GitHub App.")
    if min(map(len, secrets)) < MINIMUM_SECRET_LENGTH:
        fail(f"every secret must have {MINIMUM_SECRET_LENGTH} characters or more.")
    if any(map(is_quoted, secrets)):
        fail("a secret begins and ends with quotes; take them off, or choose another secret.")
    return secrets


def encryption_keys(value: str) -> list[str]:
    """Split comma-separated keys of Fernet; the first one encrypts."""
    keys = unquoted_items(value)
    if not keys or not all(map(is_key, keys)):
        fail("must be keys, each as `openssl rand -base64 32 | tr +/ -_` prints one.")
    return keys


def json_paths(value: str) -> list[str]:
    """Split comma-separated JSON paths. Those are no secrets, and are shown on pages."""
    paths = list(map(unquoted, split_paths(value)))
    try:
        Redaction(paths)
    except PathError as error:
        fail(str(error))
    if not paths:
        fail("must name values, as $.sender.email or $..email do.")
    return paths


def source_names(value: str) -> list[str]:
    """Split comma-separated source names, as they stand in `/webhooks/<source>`."""
    names = unquoted_items(value)
    for name in names:
        if not SOURCE_NAME.fullmatch(name):
            fail("names may hold lower-case letters, digits and hyphens only.")
    if len(set(names)) != len(names) or not names:
        fail("must name one or more sources, each once.")
    return names


def app_names(value: str) -> list[str]:
    """Split comma-separated Django apps: importable packages, or their AppConfig classes."""
    names = unquoted_items(value)
    for place, name in enumerate(names, start=1):
        if fault := _app_fault(name):
            fail(f"app {place} {fault}")
    if len(set(names)) != len(names):
        fail("names an app twice.")
    return names


def directory(value: str) -> Path:
    """Return an absolute path; `~` is expanded as a shell does."""
    try:
        return Path(value).expanduser().resolve()
    except RuntimeError:
        fail("names the home directory of a user that does not exist.")


def _app_fault(name: str) -> str:
    """Return what is wrong with an app's name, or "" if its module exists. The module itself is not imported."""
    if not all(part.isidentifier() and not iskeyword(part) for part in name.split(".")):
        return "is not a name that Python can import, such as acme_bot or acme_bot.apps.AcmeConfig."
    package, _, last = name.rpartition(".")
    is_class = bool(package) and last[0].isupper()
    module = package if is_class else name
    try:
        spec = find_spec(module)
    except Exception as error:
        # A missing module, or one inside a module that is no package, is not found. Other errors are the package's own.
        if not isinstance(error, ModuleNotFoundError | ValueError) or _is_elsewhere(error, module):
            return f"is in a package whose import fails ({type(error).__name__}); import it with Python to see why."
        spec = None
    if spec is None:
        return "is not found; correct its name, install it here, or put the folder that holds it on PYTHONPATH."
    if not is_class and spec.submodule_search_locations is None:
        return "is a single module; name a package (a folder with __init__.py) that has its handlers in handlers.py."
    return ""


def _is_elsewhere(error: Exception, module: str) -> bool:
    """Tell whether another module was not found: not this one, nor a package around it."""
    name = getattr(error, "name", None)
    return bool(name) and not f"{module}.".startswith(f"{name}.")


def broker_url(value: str) -> str:
    """Return the URLs of a broker's nodes as kombu takes them: separated by semicolons."""
    return ";".join(broker_nodes(value, schemes=BROKER_SCHEMES))


def authorities(value: str) -> str:
    """Return the path of a PEM file with certificates of authorities, or "" if it is empty."""
    try:
        if value:
            create_default_context(cafile=value)
    except OSError:  # SSLError is one.
        fail("is not the path of a PEM file with certificates that can be read.")
    return value


def database(value: str, *, is_pooled: bool | None = False) -> dict[str, Any]:
    """Turn a database URL into Django's settings, with what Hookline needs of each engine.

    SQLite: WAL and `synchronous=FULL`, so that acknowledged means durable, and `BEGIN IMMEDIATE`, since a plain BEGIN
    that reads and then writes fails as soon as another process writes in between.
    PostgreSQL: connections stay open, and a peer that is gone is noticed within seconds. Behind a pooler each
    transaction may get another session, so nothing is used there that outlasts a transaction.
    """
    example = "postgres://user:password@host:5432/name"
    if whole_url(value, example=example).scheme not in DATABASE_SCHEMES:
        fail(f"must start with one of {', '.join(s + '://' for s in DATABASE_SCHEMES)}.")
    try:
        parsed: dict[str, Any] = dict(dj_database_url.parse(value))
    except (ValueError, TypeError):
        fail(f"is not a database URL, such as {example}.")
    options: dict[str, Any] = parsed.setdefault("OPTIONS", {})
    if parsed["ENGINE"] == "django.db.backends.sqlite3":
        check_sqlite(parsed["NAME"], options)
        options.setdefault("transaction_mode", "IMMEDIATE")
        options.setdefault("timeout", 20)
        options.setdefault("init_command", "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;")
    else:
        check_database_options(options)
        if not parsed["NAME"] and not options.keys() & {"dbname", "service"}:
            fail(f"names no database, as {example} does.")
        options.setdefault("connect_timeout", 2)
        options.setdefault("tcp_user_timeout", 10_000)
        options.setdefault("keepalives_idle", 10)
        options.setdefault("keepalives_interval", 5)
        options.setdefault("keepalives_count", 2)
        options.setdefault("application_name", "hookline")
        if is_pooled:
            _use_no_sessions(parsed, options)
        else:
            _prepare_statements(options)
    parsed["CONN_MAX_AGE"] = None
    parsed["CONN_HEALTH_CHECKS"] = True
    return parsed


def _use_no_sessions(parsed: dict[str, Any], options: dict[str, Any]) -> None:
    """Do without what a pooler of transactions loses. Django prepares no statements unless it is told to."""
    if "assume_role" in options:
        fail("asks for assume_role, which a pooler does not keep for this client alone; log in as that role.")
    parsed["DISABLE_SERVER_SIDE_CURSORS"] = True


def _prepare_statements(options: dict[str, Any]) -> None:
    """Have the server parse statements once a connection, and plan them for the values of each run.

    A plan that is kept for all values may have been made while the inbox was empty. It then scans the whole table
    until the server takes statistics again. Where that cannot be, a connection keeps plans (webhooks/inbox/engine.py).
    """
    options["prepare_threshold"] = 5
    # What the URL gives comes last, and wins.
    options["options"] = f"-c plan_cache_mode=force_custom_plan {options.get('options', '')}".strip()
