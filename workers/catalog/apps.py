"""The Django app of the handlers that Hookline brings along."""

from django.apps import AppConfig


class CatalogConfig(AppConfig):
    name = "workers.catalog"
    label = "catalog"
    verbose_name = "Catalog"
