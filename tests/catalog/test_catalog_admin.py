"""The catalog's pages in the admin."""

import uuid

import pytest
from django.contrib.auth import get_user_model
from django.db import models
from django.test import Client

from tests.support.catalog_events import event, handle
from workers.catalog.models import Hook, Installation, InstallationRepository, Repository, ScanRequest

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

MODELS: list[type[models.Model]] = [InstallationRepository, Repository, Installation, Hook, ScanRequest]


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(get_user_model().objects.create_superuser("operator", password=uuid.uuid4().hex))
    handle(event("installation"), event("ping"), event("push"), event("repository"))
    return client


@pytest.mark.parametrize(
    ("model", "search", "text"),
    [
        ("installation", "ac", "acme"),
        ("installation", "51000123", "acme"),
        ("repository", "acme/wid", "acme/widgets"),
        ("repository", "700100201", "acme/widgets"),
        ("installationrepository", "acme/gears", "acme/gears"),
        ("installationrepository", "51000123", "acme/gears"),
        ("hook", "512340001", "installation_target"),
        ("scanrequest", "acme/", "web/package-lock.json"),
        ("scanrequest", "700100201", "requirements.txt"),
    ],
)
def test_each_model_has_a_page_that_searches(operator: Client, model: str, search: str, text: str) -> None:
    assert text in operator.get(f"/admin/catalog/{model}/", {"q": search}).content.decode()
    assert text not in operator.get(f"/admin/catalog/{model}/", {"q": "no such thing"}).content.decode()


@pytest.mark.parametrize("model", MODELS)
def test_the_pages_are_for_looking_only(operator: Client, model: type[models.Model]) -> None:
    row = model._default_manager.first()
    assert row is not None
    page = f"/admin/catalog/{model.__name__.lower()}/"
    assert operator.get(f"{page}{row.pk}/change/").status_code == 200
    assert operator.post(f"{page}{row.pk}/change/", {}).status_code == 403
    assert operator.get(f"{page}add/").status_code == 403
    assert operator.post(f"{page}{row.pk}/delete/", {"post": "yes"}).status_code == 403
