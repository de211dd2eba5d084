"""Django's pages of users and groups, but without filters by arbitrary columns in the URL.

Some of these filters end in a server error, for example with a year beyond the calendar. The inbox's own lists accept
none either.
"""

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest

admin.site.unregister((User, Group))


@admin.register(User)
class ListedUserAdmin(UserAdmin):  # type: ignore[type-arg]  # Django's own takes no parameter when it runs.
    """Allows only the filters that the list offers."""

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return lookup in ("is_staff__exact", "is_superuser__exact", "is_active__exact", "groups__id__exact")


@admin.register(Group)
class ListedGroupAdmin(GroupAdmin):
    """Allows no filter."""

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return False
