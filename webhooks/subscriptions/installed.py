"""The subscriptions of this process. They are found once, when Django has loaded every app."""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from django.apps import apps
from django.conf import settings

from webhooks.subscriptions.declared import Declared, declared_so_far, not_held
from webhooks.subscriptions.subscription import Defaults, Subscriptions, discover, held_declarations

_subscriptions = Subscriptions()
_handlers: tuple[tuple[str, ModuleType], ...] = ()
"""Each installed app's label and its handlers module."""
_imported: tuple[Declared, ...] = ()
"""The declarations that were made while these modules were imported: in them, or in modules that they import."""


def find_subscriptions() -> None:
    """Import every installed app's `handlers.py`, and keep the subscriptions that it declares."""
    global _subscriptions, _handlers, _imported  # noqa: PLW0603  Found once, for the whole process.
    before = len(declared_so_far())
    _handlers = tuple(
        (config.label, import_module(f"{config.name}.handlers"))
        for config in apps.get_app_configs()
        # An app that is a single module cannot have a handlers module.
        if hasattr(config.module, "__path__") and find_spec(f"{config.name}.handlers")
    )
    _imported = declared_so_far()[before:]
    _subscriptions = discover(
        _handlers,
        defaults=Defaults(
            queue=settings.CELERY_TASK_DEFAULT_QUEUE,
            time_limit=settings.HOOKLINE_TIME_LIMIT,
            max_attempts=settings.HOOKLINE_MAX_ATTEMPTS,
        ),
    )


def installed_subscriptions() -> Subscriptions:
    """Return the subscriptions of every installed app."""
    return _subscriptions


def apps_without_handlers() -> list[str]:
    """Return the names of the team's apps that have no handlers module."""
    configs = list(apps.get_app_configs())
    with_handlers = {label for label, _ in _handlers}
    of_the_team = configs[len(configs) - len(settings.HOOKLINE_APPS) :]
    return [config.name for config in of_the_team if config.label not in with_handlers]


def lost_declarations() -> list[Declared]:
    """Return the declarations that were not collected, in installed apps and in libraries that their handlers import.

    Apps that are not installed do not count: their `handlers.py` may be imported for another purpose.
    """
    packages = [one.name for one in apps.get_app_configs()]
    libraries = {one.module for one in _imported if not one.module.endswith(".handlers")}
    return [
        one
        for one in not_held(held_declarations(_handlers))
        if one.module in libraries or any(map(one.is_in, packages))
    ]
