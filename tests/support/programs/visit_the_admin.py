"""Prints as JSON whether the bundled catalog is installed, and the status of the pages that its only user visits."""

import json

import django


def main() -> None:
    from django.apps import apps
    from django.contrib.auth.models import User
    from django.test import Client

    user = User.objects.get()
    client = Client()
    client.force_login(user)
    paths = [
        "/admin/",
        "/admin/auth/user/",
        f"/admin/auth/user/{user.pk}/change/",
        "/admin/webhooks/job/",
        "/admin/webhooks/delivery/",
        "/readyz",
    ]
    found = {path: client.get(path, headers={"Host": "localhost"}).status_code for path in paths}
    print(json.dumps([apps.is_installed("workers.catalog"), found]))


if __name__ == "__main__":
    django.setup()
    main()
