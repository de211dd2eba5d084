"""Which jobs somebody acts on: those chosen by hand, or all that a search finds; as it goes from form to form."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import BadRequest
from django.db.models import QuerySet
from django.http import QueryDict
from django.utils import timezone

from webhooks.console import filters, job_search
from webhooks.console.search import Search
from webhooks.inbox.operations import BY_NAME, Operation
from webhooks.models import Job

MOST_BY_HAND = 1_000
ON_CHOSEN, ON_ALL = "operation", "operation_on_all"
"""The parameter that names the operation says on what, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """An operation and the jobs that it is asked for."""

    operation: Operation
    jobs: QuerySet[Job]
    ids: tuple[int, ...] = ()
    """The jobs chosen by hand; none if the search's are."""
    search: Search
    most_searched: str = ""
    """Among how many jobs only the search looks; "" if among all."""

    @property
    def is_by_search(self) -> bool:
        return not self.ids

    @property
    def scope(self) -> str:
        """Return what was selected, for the audit log."""
        return scope_of(ids=self.ids) if self.ids else scope_of(search=self.search)

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """Return what names the same selection in a form, or in a URL."""
        name = ON_ALL if self.is_by_search else ON_CHOSEN
        chosen = [("job", str(pk)) for pk in self.ids]
        return [(name, self.operation.name), *chosen, *parameters_of(self.search).items()]

    @property
    def list_query(self) -> str:
        """Return the URL's query of the list that shows the search's jobs."""
        return urlencode(parameters_of(self.search))


def read(values: QueryDict) -> Selection:
    """Return the selection that a form or a URL names. Raises BadRequest if it names none."""
    wanted, _ = filters.from_parameters(values, now=timezone.now())
    if (name := values.get(ON_ALL)) is not None:
        found = job_search.jobs(wanted)
        if not found.may_act_on_all or wanted.problems:
            raise BadRequest("To act on all jobs that match, filter by one state first.")
        most = found.narrowed.most_searched
        return Selection(operation=_operation(name), jobs=found.jobs, search=wanted, most_searched=most)
    chosen = values.getlist("job")
    if not chosen or len(chosen) > MOST_BY_HAND or not all(re.fullmatch("[0-9]{1,18}", each) for each in chosen):
        raise BadRequest("No job of the list is selected.")
    ids = tuple(dict.fromkeys(map(int, chosen)))
    operation = _operation(values.get(ON_CHOSEN, ""))
    return Selection(operation=operation, jobs=Job.objects.filter(pk__in=ids), ids=ids, search=wanted)


def _operation(name: str) -> Operation:
    if name not in BY_NAME:
        raise BadRequest("There is no such operation.")
    return BY_NAME[name]


def scope_of(*, ids: Sequence[int] = (), search: Search | None = None) -> str:
    """Return "job 12", "jobs 12, 13" or "all jobs with state:dead"."""
    if search is not None:
        return "all jobs with " + " ".join(f"{name}:{value}" for name, value in parameters_of(search).items())
    return ("job " if len(ids) == 1 else "jobs ") + ", ".join(map(str, ids))


def parameters_of(wanted: Search) -> Mapping[str, str]:
    """Return the parameters that mean the same search at any later time: moments are absolute in them."""
    values: dict[str, Any] = {each.name: getattr(wanted, each.name) for each in fields(wanted)}
    number, _ = values.pop("number"), values.pop("problems")
    texts = {name: _text(value) for name, value in values.items() if value not in (None, "")}
    return {"q": f"#{number}", **texts} if number is not None else texts


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
