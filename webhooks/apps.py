"""The Django app: finds the subscriptions and registers the system checks."""

from importlib import import_module
from importlib.util import find_spec

from django.apps import AppConfig, apps
from django.conf import settings

from webhooks.subscriptions import Defaults, Subscriptions, discover


class WebhooksConfig(AppConfig):
    name = "webhooks"
    verbose_name = "Inbox"
    subscriptions: Subscriptions = Subscriptions()

    def ready(self) -> None:
        from webhooks import checks  # noqa: F401  Importing registers the checks.

        self.subscriptions = discover(
            (
                (config.label, import_module(f"{config.name}.handlers"))
                for config in apps.get_app_configs()
                if find_spec(f"{config.name}.handlers")
            ),
            defaults=Defaults(
                queue=settings.CELERY_TASK_DEFAULT_QUEUE,
                time_limit=settings.HOOKLINE_TIME_LIMIT,
                max_attempts=settings.HOOKLINE_MAX_ATTEMPTS,
            ),
        )


def installed_subscriptions() -> Subscriptions:
    """Return the subscriptions of every installed app."""
    config = apps.get_app_config("webhooks")
    assert isinstance(config, WebhooksConfig)
    return config.subscriptions
