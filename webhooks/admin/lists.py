"""Read-only lists over millions of rows: counts with an upper limit, orders and filters that an index serves."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.text import capfirst

from webhooks.admin.searching import number_of
from webhooks.inbox.counts import MOST_COUNTED

MOST_LOOKED_AT = 100_000
"""How many rows a filter without an index reads: the first rows of the list, in its order."""
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
    """Counts and shows only the first MOST_COUNTED rows: a full count or a large OFFSET would read the whole table."""

    @cached_property
    def count(self) -> CappedCount:
        rows = self.object_list
        assert isinstance(rows, QuerySet)
        return CappedCount(rows.order_by()[: MOST_COUNTED + 1].count())

    @cached_property
    def num_pages(self) -> int:
        return int(min(super().num_pages, MOST_COUNTED // self.per_page))


def first_rows(request: HttpRequest, rows: QuerySet[Any], ordering: Sequence[Any]) -> QuerySet[Any]:
    """Return the first MOST_LOOKED_AT rows of a list, for a filter without an index; the page then says so.

    A search uses an index, and so is not limited to these rows.
    """
    if request.GET.get(SEARCH_VAR, "").strip() or is_cut_off(request):
        return rows
    first = str(ordering[0])
    column = first.removeprefix("-")
    last = rows.order_by(*ordering).values_list(column, flat=True)[MOST_LOOKED_AT - 1 : MOST_LOOKED_AT].first()
    if last is None:
        return rows
    request.hookline_is_cut_off = True  # type: ignore[attr-defined]
    return rows.filter(Q((f"{column}__gte" if first.startswith("-") else f"{column}__lte", last)))


def is_cut_off(request: HttpRequest) -> bool:
    """Tell whether the list read only its first rows."""
    return getattr(request, "hookline_is_cut_off", False)


class FirstRowsFilter(admin.FieldListFilter):
    """A mixin for Django's filters without an index."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        _field, request, _params, _model, model_admin = arguments
        self._ordering = model_admin.get_ordering(request)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any] | None:
        rows = first_rows(request, queryset, self._ordering) if self.used_parameters else queryset
        return super().queryset(request, rows)


class FirstRowsBooleanFilter(FirstRowsFilter, admin.BooleanFieldListFilter):
    """Yes or no."""


class FirstRowsEmptyFilter(FirstRowsFilter, admin.EmptyFieldListFilter):
    """Empty or not."""


class InboxChangeList(ChangeList):
    """Orders only as the model's admin says, since any other order sorts the whole table."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.title = capfirst(str(self.opts.verbose_name_plural))

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.first_rows = f"{MOST_LOOKED_AT:,}" if is_cut_off(request) else ""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        return list(self.model_admin.get_ordering(request))

    def apply_select_related(self, qs: Any) -> Any:
        asked = self.model_admin
        assert isinstance(asked, ReadOnlyAdmin)
        return super().apply_select_related(qs).defer(*asked.list_defer)


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # As above.
    """Shows rows that nobody may add, edit or delete by hand."""

    paginator = CappedPaginator
    list_per_page = PAGE
    list_max_show_all = PAGE
    list_defer: tuple[str, ...] = ()
    """Columns that may be long, which the list does not show and so does not read."""
    shows_of: ClassVar[Mapping[str, type[Model]]] = {}
    """Columns and fields that show rows of another model, which the user must be allowed to view too."""
    number_field = ""
    """The field in which a search for a number looks. Django's own search would cast the column to text, and so would
    not use its index."""
    ordering = ["-id"]
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ()
    empty_value_display = "–"  # noqa: RUF001  A dash for "nothing here".

    class Media:
        css = {"all": ("webhooks/admin.css",)}

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[ChangeList]:
        return InboxChangeList

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Allow only the lookups of the list's filters in the URL: others would have no index."""
        return lookup in {name for list_filter in self.list_filter for name in _parameters(list_filter)}

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        number = number_of(search_term)
        if self.number_field and number is not None:
            return queryset.filter(**{self.number_field: number}), False
        return super().get_search_results(request, queryset, search_term)

    def may_view(self, request: HttpRequest, model: type[Model]) -> bool:
        """Tell whether the user may view another model's rows."""
        return self.admin_site.get_model_admin(model).has_view_permission(request)

    def allowed(self, request: HttpRequest, names: Iterable[Any]) -> list[Any]:
        """Return the columns or fields without those that show what the user may not view."""
        return [name for name in names if name not in self.shows_of or self.may_view(request, self.shows_of[name])]

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return self.allowed(request, super().get_list_display(request))

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        return self.allowed(request, super().get_fields(request, obj))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        return [
            (name, {**options, "fields": self.allowed(request, options["fields"])})
            for name, options in super().get_fieldsets(request, obj)
        ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def _parameters(list_filter: Any) -> Iterator[str]:
    """Yield the URL's parameters that a filter of a list reads."""
    if isinstance(list_filter, str | tuple):
        field = list_filter if isinstance(list_filter, str) else list_filter[0]
        yield from (f"{field}__{lookup}" for lookup in ("exact", "isnull", "isempty"))
    else:
        yield list_filter.parameter_name
