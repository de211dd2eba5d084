"""The Django app. When it starts, it finds the handlers and registers the system checks."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class WebhooksConfig(AppConfig):
    name = "webhooks"
    verbose_name = "Inbox"

    def ready(self) -> None:
        import webhooks.publishing.checks
        import webhooks.subscriptions.checks
        import webhooks.traces.checks  # noqa: F401  Importing registers the checks.
        from webhooks.console.roles import make_roles
        from webhooks.inbox import database
        from webhooks.subscriptions.installed import find_subscriptions

        database.watch_pages()
        find_subscriptions()
        # Django makes a release's permissions at the end of `migrate`; the roles are given them after that.
        post_migrate.connect(make_roles, sender=self)
