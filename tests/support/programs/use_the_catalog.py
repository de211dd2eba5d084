"""Leaves rows of the bundled catalog in the database, and an operator with all rights on them."""

import django


def main() -> None:
    from django.contrib.auth.models import Permission, User

    from tests.support.catalog_events import event, handle

    handle(event("push"), event("installation"))
    user = User.objects.create_superuser("operator", password="p")
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="catalog"))


if __name__ == "__main__":
    django.setup()
    main()
