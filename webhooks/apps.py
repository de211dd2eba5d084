"""The Django app: finds the subscriptions and registers the system checks."""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from django.apps import AppConfig, apps
from django.conf import settings

from webhooks.subscriptions.declared import Declared, declared_so_far, not_held
from webhooks.subscriptions.subscription import Defaults, Subscriptions, discover, held_declarations


class WebhooksConfig(AppConfig):
    name = "webhooks"
    verbose_name = "Inbox"
    subscriptions: Subscriptions = Subscriptions()
    handlers: tuple[tuple[str, ModuleType], ...] = ()
    """Each installed app's label and its handlers module."""
    imported: tuple[Declared, ...] = ()
    """What was declared as these modules were imported, by them or by what they import."""

    def ready(self) -> None:
        import webhooks.subscriptions.checks  # noqa: F401  Importing registers the checks.
        from webhooks.inbox import database
        from webhooks.publishing import checks  # noqa: F401  Importing registers the checks.

        database.watch_pages()
        before = len(declared_so_far())
        self.handlers = tuple(
            (config.label, import_module(f"{config.name}.handlers"))
            for config in apps.get_app_configs()
            # An app that is a single module has no place for any.
            if hasattr(config.module, "__path__") and find_spec(f"{config.name}.handlers")
        )
        self.imported = declared_so_far()[before:]
        self.subscriptions = discover(
            self.handlers,
            defaults=Defaults(
                queue=settings.CELERY_TASK_DEFAULT_QUEUE,
                time_limit=settings.HOOKLINE_TIME_LIMIT,
                max_attempts=settings.HOOKLINE_MAX_ATTEMPTS,
            ),
        )


def installed_subscriptions() -> Subscriptions:
    """Return the subscriptions of every installed app."""
    return _config().subscriptions


def apps_without_handlers() -> list[str]:
    """Return the names of the team's apps that have no handlers module."""
    configs = list(apps.get_app_configs())
    with_handlers = {label for label, _ in _config().handlers}
    of_the_team = configs[len(configs) - len(settings.HOOKLINE_APPS) :]
    return [config.name for config in of_the_team if config.label not in with_handlers]


def lost_declarations() -> list[Declared]:
    """Return what installed apps declare, themselves or in a library that their handlers import, and nobody holds.

    Another app's `handlers.py` may be imported for something else, and its handlers left out, by not installing it.
    """
    config = _config()
    packages = [one.name for one in apps.get_app_configs()]
    libraries = {one.module for one in config.imported if not one.module.endswith(".handlers")}
    return [
        one
        for one in not_held(held_declarations(config.handlers))
        if one.module in libraries or any(map(one.is_in, packages))
    ]


def _config() -> WebhooksConfig:
    config = apps.get_app_config("webhooks")
    assert isinstance(config, WebhooksConfig)
    return config
