"""The lists' filters. Their choices come from the code and the installed subscriptions, never from SELECT DISTINCT."""

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from webhooks.admin.lists import first_rows
from webhooks.states import JobState
from webhooks.subscriptions.installed import installed_subscriptions
from webhooks.subscriptions.matching import EVERY_EVENT


class ColumnFilter(admin.SimpleListFilter):
    """One value of the column that the URL's parameter names. A value that is not offered works too."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset.filter(Q((str(self.parameter_name), value))) if value else queryset


class FirstRowsColumnFilter(ColumnFilter):
    """One value of a column without an index."""

    def __init__(self, request: HttpRequest, params: Any, model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        self._ordering = model_admin.get_ordering(request)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        rows = first_rows(request, queryset, self._ordering) if self.value() else queryset
        return super().queryset(request, rows)


class StateFilter(ColumnFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state.value, state.value) for state in JobState]


class QueueFilter(FirstRowsColumnFilter):
    title = "queue"
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(queue, queue) for queue in installed_subscriptions().queues]


class HandlerFilter(FirstRowsColumnFilter):
    title = "handler"
    parameter_name = "handler"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in sorted({subscription.name for subscription in installed_subscriptions()})]


class EventFilter(ColumnFilter):
    title = "event"
    parameter_name = "event"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        subscribed = {event for subscription in installed_subscriptions() for event in subscription.events}
        return [(event, event) for event in sorted(subscribed - {EVERY_EVENT} | {"ping"})]
