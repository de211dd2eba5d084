"""The Django app of the handlers that come with Hookline. It is the default of HOOKLINE_APPS."""

from django.apps import AppConfig


class CatalogConfig(AppConfig):
    name = "workers.catalog"
    label = "catalog"
    verbose_name = "Catalog"

    def ready(self) -> None:
        from webhooks.inbox.app_rows import prune_old_rows
        from workers.catalog.models import ScanRequest

        prune_old_rows(ScanRequest, inserted_at="requested_at")
