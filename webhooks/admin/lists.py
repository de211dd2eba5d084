"""Lists over millions of rows: counts that stop and say so, orders and filters that an index serves, no editing."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.text import capfirst

MOST_COUNTED = 10_000
PAGE = 50


class CappedCount(int):
    """A count of at most MOST_COUNTED + 1, which reads "more than 10,000" wherever Django's templates print it."""

    @property
    def is_capped(self) -> bool:
        return self > MOST_COUNTED

    @property
    def most(self) -> str:
        return f"{MOST_COUNTED:,}"

    def __str__(self) -> str:
        return f"more than {self.most}" if self.is_capped else f"{int(self):,}"


class CappedPaginator(Paginator):  # type: ignore[type-arg]  # Django's own takes no parameter when it runs.
    """Counts, and leads to, the first MOST_COUNTED rows: a whole count and a far OFFSET read the whole table."""

    @cached_property
    def count(self) -> CappedCount:
        rows = self.object_list
        assert isinstance(rows, QuerySet)
        return CappedCount(rows.order_by()[: MOST_COUNTED + 1].count())

    @cached_property
    def num_pages(self) -> int:
        return int(min(super().num_pages, MOST_COUNTED // self.per_page))


class InboxChangeList(ChangeList):
    """Orders only as the model's admin says, since any other order sorts the whole table."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.title = capfirst(str(self.opts.verbose_name_plural))

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        return list(self.model_admin.get_ordering(request))

    def apply_select_related(self, qs: Any) -> Any:
        asked = self.model_admin
        assert isinstance(asked, InboxAdmin)
        return super().apply_select_related(qs).prefetch_related(*asked.list_prefetch_related).defer(*asked.list_defer)


class InboxAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # As above.
    """Looking at rows that nobody may add, edit or delete by hand."""

    paginator = CappedPaginator
    list_per_page = PAGE
    list_max_show_all = PAGE
    list_prefetch_related: tuple[Any, ...] = ()
    list_defer: tuple[str, ...] = ()
    """Columns that may be long, which the list does not show and so does not read."""
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ()
    empty_value_display = "–"  # noqa: RUF001  A dash for "nothing here".

    class Media:
        css = {"all": ("webhooks/admin.css",)}

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[ChangeList]:
        return InboxChangeList

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Allow what a filter of the list asks, and no other column in the address: no index would serve it."""
        return lookup in {getattr(list_filter, "parameter_name", None) for list_filter in self.list_filter}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
