"""Each of these is wrong in one way."""

from collections.abc import Iterator

from webhooks import Event, Run, on


@on("push", name="faulty_bot.twin")
def first_twin(event: Event) -> None: ...


@on("push", name="faulty_bot.twin")
def second_twin(event: Event) -> None: ...


@on("push", name="two words")
def badly_named(event: Event) -> None: ...


@on("push", queue="a/b")
def badly_queued(event: Event) -> None: ...


@on([])
def without_event(event: Event) -> None: ...


@on("pull_requests")
def misspelt(event: Event) -> None: ...


@on("push", time_limit=0)
def without_time(event: Event) -> None: ...


@on("push", time_limit=10, soft_time_limit=10)
def soft_as_hard(event: Event) -> None: ...


@on("push", max_attempts=0)
def never_tried(event: Event) -> None: ...


@on("push", backoff=-1)
def back_in_time(event: Event) -> None: ...


@on("push", where={"repository..full_name": "acme/*"})
def nowhere(event: Event) -> None: ...


@on("push", where={"repository.full_name": []})
def matched_by_nothing(event: Event) -> None: ...


@on("push")  # type: ignore[type-var]
async def asynchronous(event: Event) -> None: ...


@on("push")  # type: ignore[type-var]
def generating(event: Event) -> Iterator[str]:
    yield event.name


@on("push")
def without_parameters() -> None: ...


@on("push")
def with_one_too_many(event: Event, repository: str) -> None: ...


@on("push")
def with_run_by_keyword(event: Event, *, run: Run) -> None: ...


@on("push")
def with_run_behind_another(event: Event, attempts: int = 3, run: Run | None = None) -> None: ...
