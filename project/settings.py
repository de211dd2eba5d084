"""Every setting of Hookline, read from the environment once. docs/configuration.md lists the variables."""

import os
import secrets
import sys
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from django.core.exceptions import ImproperlyConfigured

from project.broker_settings import CONNECT_SECONDS, broker_settings
from project.embedded import generated_secrets, open_data_directory
from project.environment import (
    ENVIRONMENTS,
    database,
    flower_provider,
    one_of,
    open_environment,
    operator_name,
    release_name,
    stop_on_errors,
    value_or_default,
)
from project.github_access import check_access, read_access, read_hook_addresses
from project.identity import check_installed, provider_settings
from project.logging import has_colours, logging_settings
from project.page_settings import PAGE_SETTINGS
from project.roles import EVERYTHING, GUARDED, ROLES, USED, uses, withhold
from project.version import VERSION
from webhooks.encryption import HiddenKeys
from webhooks.handing_over import forget
from webhooks.listening import EVERY_ADDRESS
from webhooks.source_secrets import APP_PRIVATE_KEY, variable_of

BASE_DIR = Path(__file__).resolve().parent.parent

# --- What the environment says. Nothing is derived before `stop_on_errors`. -------------------------------------------

env = open_environment()
HOOKLINE_ENVIRONMENT = env.str("HOOKLINE_ENVIRONMENT", "embedded", validate=one_of(ENVIRONMENTS))
PRODUCTION = HOOKLINE_ENVIRONMENT == "production"
DEBUG = env.bool("DEBUG", False)
HOOKLINE_DATA_DIR: Path = value_or_default(env.directory, "HOOKLINE_DATA_DIR", BASE_DIR / ".hookline")

HOOKLINE_RELEASE = env.str("HOOKLINE_RELEASE", VERSION, validate=release_name())
HOOKLINE_ROLE: str = value_or_default(env.str, "HOOKLINE_ROLE", EVERYTHING, validate=one_of(ROLES))
withhold(HOOKLINE_ROLE)
# The embedded environment generates the secrets that are not given; production must be given each of them.
_generated = {} if PRODUCTION else generated_secrets(open_data_directory(HOOKLINE_DATA_DIR))
_generated = {name: value for name, value in _generated.items() if uses(HOOKLINE_ROLE, name)}


def _default(variable: str, *, unused: Any) -> Any:
    """Return a variable's default. `...` means that it must be given: in production, if the role uses it."""
    return _generated.get(variable, ...) if uses(HOOKLINE_ROLE, variable) else unused


# Django needs a key in every role. A role that is given none has a random one: no other process accepts its signatures.
SECRET_KEY = env.str("SECRET_KEY", _default("SECRET_KEY", unused=secrets.token_urlsafe(50)))
HOOKLINE_OPERATOR_PASSWORD = env.str(
    "HOOKLINE_OPERATOR_PASSWORD", "" if PRODUCTION else _default("HOOKLINE_OPERATOR_PASSWORD", unused="")
)
# A value that cannot be read is None here, and stops the start below.
HOOKLINE_DATABASE_POOLED = env.bool("HOOKLINE_DATABASE_POOLED", False)
_given_database = partial(env.database, "DATABASE_URL", is_pooled=HOOKLINE_DATABASE_POOLED)
if PRODUCTION:
    ALLOWED_HOSTS = env.host_names("ALLOWED_HOSTS", _default("ALLOWED_HOSTS", unused=[]))
    DATABASES = {"default": _given_database(_default("DATABASE_URL", unused={}))}
    BROKER_URL = env.broker_url("BROKER_URL", "amqp://localhost//")
else:
    ALLOWED_HOSTS = env.host_names("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
    _sqlite_url = f"sqlite:///{quote(str(HOOKLINE_DATA_DIR / 'hookline.sqlite3'))}"
    DATABASES = {"default": _given_database(None) or database(_sqlite_url)}
    BROKER_URL = env.broker_url("BROKER_URL", "filesystem://")

HOOKLINE_BROKER_CA_FILE = env.authorities("HOOKLINE_BROKER_CA_FILE", "")
HOOKLINE_BROKER_TLS_VERIFY = env.bool("HOOKLINE_BROKER_TLS_VERIFY", True)
HOOKLINE_OPERATOR_USER = env.str("HOOKLINE_OPERATOR_USER", "operator", validate=operator_name())
HOOKLINE_DEFAULT_APPS = ["workers.catalog"]
HOOKLINE_APPS = env.app_names("HOOKLINE_APPS", HOOKLINE_DEFAULT_APPS)

HOOKLINE_SOURCES = env.source_names("HOOKLINE_SOURCES", ["github"]) or []
HOOKLINE_ENCRYPTION_KEYS: list[str] = env.encryption_keys(
    "HOOKLINE_ENCRYPTION_KEYS", _generated.get("HOOKLINE_ENCRYPTION_KEYS", [])
)
"""What is stored encrypted is written with the first, and read with any of them."""
HOOKLINE_DESTINATION_KEYS = HiddenKeys(
    env.encryption_keys("HOOKLINE_DESTINATION_KEYS", _generated.get("HOOKLINE_DESTINATION_KEYS", [])) or ()
)
"""The same for the secrets of destinations, which workers send with: they are given no other key."""
if HOOKLINE_ROLE == "worker":
    forget("HOOKLINE_DESTINATION_KEYS")
HOOKLINE_SECRETS: dict[str, list[str]] = {}
"""Each source's secrets that the environment gives. With encryption keys, all of them may be in the database."""
for _source in HOOKLINE_SOURCES:
    _name = variable_of(_source)
    _unless_given = _default(_name, unused=[])
    HOOKLINE_SECRETS[_source] = env.webhook_secrets(
        _name, [] if HOOKLINE_ENCRYPTION_KEYS and _unless_given is ... else _unless_given
    )
HOOKLINE_PAYLOAD_KEYS: list[str] = env.encryption_keys("HOOKLINE_PAYLOAD_KEYS", [])
"""The same for payloads. They are others, since workers have them, and no handler may read the secrets."""
HOOKLINE_ENCRYPT_PAYLOADS = env.bool("HOOKLINE_ENCRYPT_PAYLOADS", False)
HOOKLINE_REDACT: list[str] = env.json_paths("HOOKLINE_REDACT", [])
"""The JSON paths of what is never stored of a payload."""
HOOKLINE_GITHUB_ACCESS = read_access(env, HOOKLINE_SOURCES)
"""What each source's GitHub is asked with. webhooks/github_api/access.py reads it, and nothing else does."""
HOOKLINE_GITHUB_WRITES = env.str(
    "HOOKLINE_GITHUB_WRITES", "send" if PRODUCTION else "record", validate=one_of(("send", "record"))
)
"""What becomes of a handler's calls that change something on GitHub. A developer's machine sends none by itself."""
HOOKLINE_TOKEN = env.str("HOOKLINE_TOKEN", "")
"""A person's token for another installation. Only `manage.py pull` has it."""
HOOKLINE_HOOK_ADDRESSES = read_hook_addresses(env, HOOKLINE_GITHUB_ACCESS)
"""From where deliveries are taken in, of the sources of which that is limited."""
HOOKLINE_RECONCILE_SECONDS = env.number("HOOKLINE_RECONCILE_SECONDS", 300.0, lowest=10, highest=86_400)

# A pod's address varies, and may be IPv6 only.
HOOKLINE_HOST: str = env.listen_address("HOOKLINE_HOST", EVERY_ADDRESS if PRODUCTION else "127.0.0.1")
_port = env.whole_number("HOOKLINE_PORT", None, lowest=1, highest=65_535)
HOOKLINE_PORT = 8000 if _port is None else _port
HOOKLINE_PORT_IS_GIVEN = _port is not None
HOOKLINE_FLOWER_PORT = env.whole_number("HOOKLINE_FLOWER_PORT", 5555, lowest=1, highest=65_535)
# The variable has Flower's name for it, since Flower reads it too.
HOOKLINE_FLOWER_PREFIX = env.url_prefix("FLOWER_URL_PREFIX", "")
# So have these, by Flower's name for each option.
HOOKLINE_FLOWER_OAUTH: dict[str, str] = {
    "auth_provider": env.str("FLOWER_AUTH_PROVIDER", "", validate=flower_provider()),
    "auth": env.email_pattern("FLOWER_AUTH", ""),
    "oauth2_key": env.str("FLOWER_OAUTH2_KEY", ""),
    "oauth2_secret": env.str("FLOWER_OAUTH2_SECRET", ""),
    "oauth2_redirect_uri": env.redirect_uri("FLOWER_OAUTH2_REDIRECT_URI", ""),
}
CSRF_TRUSTED_ORIGINS = env.origins("HOOKLINE_TRUSTED_ORIGINS", [])
HOOKLINE_BEHIND_PROXY = env.bool("HOOKLINE_BEHIND_PROXY", PRODUCTION)
HOOKLINE_TRUSTED_PROXIES: list[str] = env.networks("HOOKLINE_TRUSTED_PROXIES", [])
"""Whose X-Forwarded-For is believed where senders are limited by their address."""

HOOKLINE_RECEIVER_THREADS = env.whole_number("HOOKLINE_RECEIVER_THREADS", 8, lowest=1, highest=1_000)
HOOKLINE_MAX_BODY_MB = env.whole_number("HOOKLINE_MAX_BODY_MB", 25, lowest=1, highest=256)
HOOKLINE_BODY_SECONDS = env.number("HOOKLINE_BODY_SECONDS", 10.0, lowest=0.1, highest=600)
# Longer than proxies keep idle connections (60 to 75 s). Else they send requests on connections that are being closed.
HOOKLINE_KEEP_ALIVE_SECONDS = env.number("HOOKLINE_KEEP_ALIVE_SECONDS", 90.0, lowest=1, highest=86_400)

HOOKLINE_DRAIN_SECONDS = env.number("HOOKLINE_DRAIN_SECONDS", 5.0 if PRODUCTION else 0.0, lowest=0, highest=3_600)

HOOKLINE_GRACE_SECONDS = env.number("HOOKLINE_GRACE_SECONDS", 90.0, lowest=5, highest=172_800)
HOOKLINE_WORKER_MAX_SECONDS = env.number("HOOKLINE_WORKER_MAX_SECONDS", 3600.0, lowest=0, highest=31_536_000)
# In a pod each process has an address of its own. On one machine processes share one: the first gets the default port,
# each further one the next free port. A port that is given is used as it is.
_probe_port = env.whole_number("HOOKLINE_PROBE_PORT", None, lowest=0, highest=65_535)
HOOKLINE_PROBE_PORT = (8001 if PRODUCTION else 0) if _probe_port is None else _probe_port
HOOKLINE_PROBE_PORTS = range(HOOKLINE_PROBE_PORT, HOOKLINE_PROBE_PORT + (100 if _probe_port is None else 1))
HOOKLINE_STALLED_SECONDS = env.number("HOOKLINE_STALLED_SECONDS", 60.0, lowest=10, highest=86_400)

HOOKLINE_QUEUE_WINDOW = env.whole_number("HOOKLINE_QUEUE_WINDOW", 200, lowest=1, highest=1_000_000)
HOOKLINE_WORKER_CONCURRENCY = env.whole_number("HOOKLINE_WORKER_CONCURRENCY", 4, lowest=1, highest=1_000)
HOOKLINE_CHILD_MAX_JOBS = env.whole_number("HOOKLINE_CHILD_MAX_JOBS", 1000, lowest=1, highest=1_000_000_000)
HOOKLINE_CHILD_RECYCLE_MB = env.whole_number("HOOKLINE_CHILD_RECYCLE_MB", 300, lowest=1, highest=1_000_000)
HOOKLINE_CHILD_MAX_MB = env.whole_number("HOOKLINE_CHILD_MAX_MB", 1024, lowest=100, highest=1_048_576)
HOOKLINE_IMMORTAL = env.bool("HOOKLINE_IMMORTAL", True)
HOOKLINE_JOB_EVENTS = env.bool("HOOKLINE_JOB_EVENTS", True)
HOOKLINE_TIME_LIMIT = env.number("HOOKLINE_TIME_LIMIT", 60.0, lowest=1, highest=86_400)
HOOKLINE_MAX_ATTEMPTS = env.whole_number("HOOKLINE_MAX_ATTEMPTS", 5, lowest=1, highest=1_000)
HOOKLINE_MAX_AGE_HOURS = env.number("HOOKLINE_MAX_AGE_HOURS", 24.0, lowest=0.01, highest=8_760)
HOOKLINE_LEASE_MARGIN_SECONDS = env.number("HOOKLINE_LEASE_MARGIN_SECONDS", 15.0, lowest=1, highest=3_600)

HOOKLINE_KEEP_PAYLOADS_DAYS = env.whole_number("HOOKLINE_KEEP_PAYLOADS_DAYS", 14, lowest=1, highest=36_500)
# GitHub Enterprise Server redelivers for seven days, and a redelivery is recognised by the stored delivery.
HOOKLINE_KEEP_DAYS = env.whole_number("HOOKLINE_KEEP_DAYS", 30, lowest=8, highest=36_500)
HOOKLINE_KEEP_DEAD_DAYS = env.whole_number("HOOKLINE_KEEP_DEAD_DAYS", 90, lowest=8, highest=36_500)


HOOKLINE_SESSION_HOURS = env.number("HOOKLINE_SESSION_HOURS", 12.0, lowest=0.1, highest=8_760)
HOOKLINE_VIEWERS_SEE_PAYLOADS = env.bool("HOOKLINE_VIEWERS_SEE_PAYLOADS", False)

OIDC_RP_CLIENT_ID = env.str("HOOKLINE_OIDC_CLIENT_ID", "")
HOOKLINE_OIDC = bool(OIDC_RP_CLIENT_ID) and uses(HOOKLINE_ROLE, "HOOKLINE_OIDC_CLIENT_SECRET")
HOOKLINE_OIDC_GROUPS_CLAIM = env.str("HOOKLINE_OIDC_GROUPS_CLAIM", "groups")
HOOKLINE_OIDC_ROLES: dict[str, str] = env.group_roles("HOOKLINE_OIDC_ROLES", ... if HOOKLINE_OIDC else {})
globals().update(provider_settings(env, is_on=HOOKLINE_OIDC))

HOOKLINE_LOG_FORMAT = env.str(
    "HOOKLINE_LOG_FORMAT", "json" if PRODUCTION else "text", validate=one_of(("text", "json"))
)
# OpenTelemetry reads these, and its other variables, by itself. Here they only say whether it is used at all.
_collectors = [env.str(f"OTEL_EXPORTER_OTLP_{what}ENDPOINT", "") for what in ("", "TRACES_")]
HOOKLINE_TRACES = not env.bool("OTEL_SDK_DISABLED", False) and any(_collectors)
HOOKLINE_LOG_LEVEL = env.str("HOOKLINE_LOG_LEVEL", "INFO", validate=one_of(("DEBUG", "INFO", "WARNING", "ERROR")))

stop_on_errors(env)
check_installed(is_on=HOOKLINE_OIDC)
if PRODUCTION and DEBUG:
    raise ImproperlyConfigured("DEBUG: must be off where HOOKLINE_ENVIRONMENT is production.")
if not HOOKLINE_KEEP_PAYLOADS_DAYS <= HOOKLINE_KEEP_DAYS <= HOOKLINE_KEEP_DEAD_DAYS:
    raise ImproperlyConfigured(
        "HOOKLINE_KEEP_DAYS: must be HOOKLINE_KEEP_PAYLOADS_DAYS (14 unless set) or more, and "
        "HOOKLINE_KEEP_DEAD_DAYS (90 unless set) or fewer."
    )
if uses(HOOKLINE_ROLE, APP_PRIVATE_KEY):
    check_access(HOOKLINE_GITHUB_ACCESS, HOOKLINE_ROLE)
if HOOKLINE_ENCRYPT_PAYLOADS and not HOOKLINE_PAYLOAD_KEYS and uses(HOOKLINE_ROLE, "HOOKLINE_PAYLOAD_KEYS"):
    raise ImproperlyConfigured("HOOKLINE_ENCRYPT_PAYLOADS: is on, but HOOKLINE_PAYLOAD_KEYS holds no key.")
if HOOKLINE_HOOK_ADDRESSES and HOOKLINE_BEHIND_PROXY and not HOOKLINE_TRUSTED_PROXIES:
    raise ImproperlyConfigured(
        "GITHUB_HOOK_ADDRESSES: needs HOOKLINE_TRUSTED_PROXIES, since all comes from the proxy's address; or "
        "HOOKLINE_BEHIND_PROXY=false."
    )
HOOKLINE_BROKER_HAS_TLS = BROKER_URL.startswith(("amqps://", "rediss://"))
if HOOKLINE_BROKER_CA_FILE and not HOOKLINE_BROKER_HAS_TLS and uses(HOOKLINE_ROLE, "BROKER_URL"):
    raise ImproperlyConfigured("HOOKLINE_BROKER_CA_FILE: BROKER_URL is without TLS; use amqps:// or rediss://.")
HOOKLINE_VARIABLES = sorted(env.dump())
"""The name of every variable that was read; a test compares docs/configuration.md with it."""
HOOKLINE_WITHHELD = {role: GUARDED - used for role, used in USED.items()}
"""The variables that each role must not be given; `check_deploy` compares manifests with it."""

# --- Django ----------------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "axes",
    "csp",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "webhooks",
    "workers",
    *HOOKLINE_APPS,
]
globals().update(PAGE_SETTINGS)
ROOT_URLCONF = "project.urls"
WSGI_APPLICATION = "project.wsgi.application"
RSGI_APPLICATION = "project.rsgi:application"
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
if HOOKLINE_OIDC:
    AUTHENTICATION_BACKENDS.append("webhooks.console.identity.Provider")
LOGIN_URL = "console:sign-in"
LOGIN_REDIRECT_URL = LOGOUT_REDIRECT_URL = "/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
APPEND_SLASH = True
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
USE_I18N = False
STATIC_URL = "static/"
WHITENOISE_USE_FINDERS = True  # No collectstatic step: the admin's files are served from where they are installed.
# The receiver reads the raw body itself, after a check of its size.
DATA_UPLOAD_MAX_MEMORY_SIZE = None
LOGGING = logging_settings(
    style=HOOKLINE_LOG_FORMAT, level=HOOKLINE_LOG_LEVEL, is_coloured=has_colours(sys.stderr, os.environ)
)
# Browsers send localhost's cookies to all its ports: another Django service there would use the default name too.
SESSION_COOKIE_NAME = "hookline_session"
SESSION_COOKIE_AGE = int(HOOKLINE_SESSION_HOURS * 3_600)

if PRODUCTION:
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
    SECURE_SSL_REDIRECT = True
if HOOKLINE_BEHIND_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# --- Celery ----------------------------------------------------------------------------------------------------------

globals().update(
    broker_settings(
        BROKER_URL,
        data_directory=HOOKLINE_DATA_DIR,
        ca_file=HOOKLINE_BROKER_CA_FILE,
        is_tls_verified=HOOKLINE_BROKER_TLS_VERIFY,
    )
)
CELERY_BROKER_CONNECTION_TIMEOUT = CONNECT_SECONDS
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_CHANNEL_ERROR_RETRY = True
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
# A message only names a job that is due, and is acknowledged when its run starts. A dead worker's job is in the inbox,
# and runs again after its lease.
CELERY_TASK_ACKS_LATE = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_CONSUMER = "workers.runs.consumer:Consumer"
CELERY_WORKER_MAX_MEMORY_PER_CHILD = HOOKLINE_CHILD_RECYCLE_MB * 1024
CELERY_WORKER_SEND_TASK_EVENTS = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
# Without an event loop (filesystem://), how long the pool waits for the result of a child that has ended.
CELERY_WORKER_LOST_WAIT = 1.0
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
