"""Subscriptions: how they are declared, found and checked, and how an app from outside joins."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.core.checks import Error, Warning
from django.utils.functional import SimpleLazyObject

from tests.support.brokers import repeated
from tests.support.processes import OUTSIDE, manage, run_module
from webhooks.subscriptions.checks import check_subscriptions, faults_of
from webhooks.subscriptions.event import Event, Run
from webhooks.subscriptions.installed import installed_subscriptions
from webhooks.subscriptions.subscription import Backoff, Defaults, Subscription, Subscriptions, discover, on

DEFAULTS = Defaults(queue="default", time_limit=60.0, max_attempts=5)


def handlers(*functions: Callable[..., Any], name: str = "handlers") -> ModuleType:
    module = ModuleType(name)
    for number, function in enumerate(functions):
        setattr(module, f"{function.__name__}_{number}", function)
    return module


def found(*functions: Callable[..., Any]) -> Subscriptions:
    return discover([("acme", handlers(*functions))], defaults=DEFAULTS)


def only(function: Callable[..., Any]) -> Subscription:
    (subscription,) = found(function)
    return subscription


def handler() -> Callable[[Event], str]:
    """Return a function of its own for each declaration: stacked ones would add up."""

    def handle(event: Event) -> str:
        return event.name

    return handle


def sentences(subscriptions: Subscriptions) -> list[str]:
    return [message.msg for message in faults_of(subscriptions)]


# --- Declaring and finding --------------------------------------------------------------------------------------------


def test_a_declared_function_stays_as_it_is() -> None:
    def handler(event: Event) -> str:
        return f"{event.name} was handled"

    assert on("push")(handler) is handler


def test_a_lazy_object_beside_a_handler_is_left_lazy() -> None:
    def connect() -> None:
        raise AssertionError("made while handlers were looked for")

    declared = on("push")(handler())
    module = handlers(declared)
    module.client = SimpleLazyObject(connect)  # type: ignore[attr-defined]
    assert [one.handler for one in discover([("acme", module)], defaults=DEFAULTS)] == [declared]


def test_a_silent_declaration_gets_the_defaults() -> None:
    @on("push")
    def scan(event: Event) -> None: ...

    assert only(scan) == Subscription(
        name="acme.scan",
        handler=scan,
        events=frozenset({"push"}),
        actions=None,
        where={},
        queue="default",
        time_limit=60.0,
        soft_time_limit=54.0,
        max_attempts=5,
        backoff=Backoff(),
        takes_run=False,
    )


def test_a_declaration_says_all_there_is() -> None:
    @on(
        ["push", "create"],
        actions=["opened"],
        where={"repository.full_name": ["acme/*", "other/one"]},
        queue="io",
        time_limit=30,
        soft_time_limit=20,
        max_attempts=2,
        backoff=Backoff(first=1, longest=2),
        name="its.own.name",
        once_per_event=True,
        fair_by="installation",
        one_at_a_time_by="pull_request",
        latest_only_by="pull_request",
    )
    def scan(event: Event, run: Run) -> None: ...

    assert only(scan) == Subscription(
        name="its.own.name",
        handler=scan,
        events=frozenset({"push", "create"}),
        actions=frozenset({"opened"}),
        where={"repository.full_name": ["acme/*", "other/one"]},
        queue="io",
        time_limit=30,
        soft_time_limit=20,
        max_attempts=2,
        backoff=Backoff(first=1, longest=2),
        takes_run=True,
        once_per_event=True,
        fair_by="installation",
        one_at_a_time_by="pull_request",
        latest_only_by="pull_request",
    )


def test_zero_is_not_taken_for_silence() -> None:
    @on("push", time_limit=0, soft_time_limit=0, max_attempts=0, backoff=0)
    def scan(event: Event) -> None: ...

    subscription = only(scan)
    assert (subscription.time_limit, subscription.soft_time_limit, subscription.max_attempts) == (0, 0, 0)
    assert subscription.backoff.first == 0


def test_one_action_may_stand_without_a_list() -> None:
    @on("issues", actions="opened")
    def scan(event: Event) -> None: ...

    assert only(scan).actions == frozenset({"opened"})


def test_a_number_as_backoff_is_its_first_wait() -> None:
    @on("push", backoff=2.5)
    def scan(event: Event) -> None: ...

    assert only(scan).backoff == Backoff(first=2.5)


def test_functions_without_a_declaration_are_no_handlers() -> None:
    assert list(found(handler())) == []


def test_a_handler_that_stands_in_two_modules_is_one() -> None:
    @on("push")
    def scan(event: Event) -> None: ...

    modules = [("acme", handlers(scan, scan)), ("other", handlers(scan))]
    assert [subscription.name for subscription in discover(modules, defaults=DEFAULTS)] == ["acme.scan"]


def test_handlers_are_found_in_the_order_they_are_written() -> None:
    @on("push")
    def second(event: Event) -> None: ...

    @on("push")
    def first(event: Event) -> None: ...

    assert [subscription.name for subscription in found(second, first)] == ["acme.second", "acme.first"]


def test_subscriptions_are_found_by_name_and_list_their_queues() -> None:
    @on("push", queue="io")
    def scan(event: Event) -> None: ...

    @on("push")
    def label(event: Event) -> None: ...

    subscriptions = found(scan, label)
    assert subscriptions.get("acme.label") == only(label)
    assert subscriptions.get("acme.gone") is None
    assert subscriptions.queues == ["default", "io"]
    assert Subscriptions().queues == []


def test_matching_asks_for_event_action_and_payload() -> None:
    @on("issues", actions=["opened"], where={"repository.private": True})
    def narrow(event: Event) -> None: ...

    @on("*")
    def wide(event: Event) -> None: ...

    def names(event: str, action: str, *, private: bool) -> list[str]:
        matching = found(narrow, wide).matching(event, action, {"repository": {"private": private}})
        return [subscription.name for subscription in matching]

    assert names("issues", "opened", private=True) == ["acme.narrow", "acme.wide"]
    assert names("issues", "opened", private=False) == ["acme.wide"]
    assert names("issues", "closed", private=True) == ["acme.wide"]
    assert names("push", "opened", private=True) == ["acme.wide"]


def test_stacked_declarations_are_a_subscription_each() -> None:
    @on("issues", queue="slow", name="acme.slow")
    @on("push")
    def both(event: Event) -> None: ...

    assert [(one.name, one.events, one.queue) for one in found(both)] == [
        ("acme.slow", frozenset({"issues"}), "slow"),
        ("acme.both", frozenset({"push"}), "default"),
    ]


def test_stacked_declarations_of_one_name_are_an_error() -> None:
    @on("issues")
    @on("push")
    def both(event: Event) -> None: ...

    assert sentences(found(both)) == ["2 subscriptions are named 'acme.both'."]


# --- Judging ----------------------------------------------------------------------------------------------------------


def test_what_is_installed_here_is_without_fault() -> None:
    assert len(list(installed_subscriptions())) > 0
    assert check_subscriptions() == []


def test_two_subscriptions_of_one_name_are_an_error() -> None:
    twins = [on("push", name="acme.twin")(lambda event: None) for _ in range(2)]
    (message,) = faults_of(found(*twins))
    assert isinstance(message, Error)
    assert (message.id, message.msg) == ("webhooks.E001", "2 subscriptions are named 'acme.twin'.")


def test_an_unknown_event_is_a_warning_that_names_it() -> None:
    misspelt = on(["pull_requests", "push"], name="acme.misspelt")(handler())
    (message,) = faults_of(found(misspelt))
    assert isinstance(message, Warning)
    assert message.id == "webhooks.W001"
    assert message.msg == "Subscription 'acme.misspelt': GitHub documents no event named 'pull_requests'."


def test_every_event_is_no_unknown_event() -> None:
    assert sentences(found(on("*")(handler()))) == []


@pytest.mark.parametrize(
    ("code", "fault", "declared"),
    [
        ("E002", "its name must be", {"name": "two words"}),
        ("E002", "its name must be", {"name": "a" * 101}),
        ("E003", "queue 'a/b' must be", {"queue": "a/b"}),
        ("E004", "it names no event.", {"event": []}),
        ("E005", "time_limit is 0; it must be between 1 and 86,400 seconds.", {"time_limit": 0}),
        (
            "E005",
            "time_limit is -1; it must be between 1 and 86,400 seconds.",
            {"time_limit": -1, "soft_time_limit": 5},
        ),
        ("E005", "time_limit is inf", {"time_limit": float("inf"), "soft_time_limit": 5}),
        ("E005", "time_limit is '60'", {"time_limit": "60"}),
        ("E007", "max_attempts is 10000000000", {"max_attempts": 10**10}),
        ("E006", "soft_time_limit (0) must be above 0", {"soft_time_limit": 0}),
        (
            "E006",
            "soft_time_limit (60) must be above 0 and below time_limit (60.0), in seconds.",
            {"soft_time_limit": 60},
        ),
        ("E007", "max_attempts is 0; it must be between 1 and 1,000.", {"max_attempts": 0}),
        ("E008", "backoff must have 0 <= first <= longest, in seconds.", {"backoff": -1}),
        ("E008", "backoff must have 0 <= first <= longest, in seconds.", {"backoff": 3601}),
        ("E008", "backoff must have 0 <= first <= longest, in seconds.", {"backoff": Backoff(first=float("nan"))}),
        ("E011", "once_per_event is 1; it must be True or False.", {"once_per_event": 1}),
        (
            "E012",
            "fair_by is 'team'; it must be one of installation, repository, sender, pull_request, handler, or a path"
            " with a dot, such as 'deployment.environment'.",
            {"fair_by": "team"},
        ),
        (
            "E012",
            "latest_only_by is 'a..b'; it must be one of installation, repository, sender, pull_request, or a path with"
            " a dot, such as 'deployment.environment'.",
            {"latest_only_by": "a..b"},
        ),
        (
            "E013",
            "one_at_a_time_by ('repository') and latest_only_by ('pull_request') must be the same where both are"
            " given.",
            {"one_at_a_time_by": "repository", "latest_only_by": "pull_request"},
        ),
        ("E014", "uses_api is 1; it must be True or False.", {"uses_api": 1}),
        (
            "E014",
            "it declares uses_api, and its function takes no `run`, by which handlers call GitHub's API.",
            {"uses_api": True},
        ),
        ("E009", "where['']: the path has an empty key", {"where": {"": "a"}}),
        ("E009", "where['a..b']: the path has an empty key", {"where": {"a..b": "a"}}),
        ("E009", "where['$.a[']: the path is no JSON path of RFC 9535", {"where": {"$.a[": "a"}}),
        ("E009", "where['$']: the path names the whole payload", {"where": {"$": "a"}}),
        ("E009", "where['a'] must be a value", {"where": {"a": []}}),
        ("E009", "where['a'] must be a value", {"where": {"a": 1.5}}),
        ("E009", "where['a'] must be a value", {"where": {"a": [["b"]]}}),
        ("E009", "where['a'] must be a value", {"where": {"a": {"b": "c"}}}),
        ("E009", "where['b'] must be a value", {"where": {"a": "a", "b": object()}}),
    ],
)
def test_a_declaration_that_makes_no_sense_is_one_error(code: str, fault: str, declared: dict[str, Any]) -> None:
    declaration = {"event": "push", "name": "acme.faulty", **declared}
    messages = list(faults_of(found(on(**declaration)(handler()))))
    assert [message.id for message in messages] == [f"webhooks.{code}"]
    assert fault in messages[0].msg


@pytest.mark.parametrize("expected", ["text", "glob*", 7, True, None, ["a", None, 1], ("a", False)])
def test_a_condition_may_be_a_value_a_glob_or_a_list_of_them(expected: Any) -> None:
    assert sentences(found(on("push", where={"a.b": expected})(handler()))) == []


async def asynchronous(event: Event) -> None: ...


def generating(event: Event) -> Any:
    yield event


async def generating_asynchronously(event: Event) -> Any:
    yield event


def without_parameters() -> None: ...


def with_two_events(event: Event, other: Event) -> None: ...


def with_run_alone(run: Run) -> None: ...


def with_run_first(run: Run, event: Event) -> None: ...


def with_run_by_keyword(event: Event, *, run: Run) -> None: ...


def with_event_by_keyword(*, event: Event) -> None: ...


def with_run_behind_another(event: Event, attempts: int = 3, run: Run | None = None) -> None: ...


def with_run_and_more(event: Event, run: Run, more: str) -> None: ...


@pytest.mark.parametrize(
    "function",
    [
        asynchronous,
        generating,
        generating_asynchronously,
        without_parameters,
        with_two_events,
        with_run_alone,
        with_run_first,
        with_run_by_keyword,
        with_event_by_keyword,
        with_run_behind_another,
        with_run_and_more,
    ],
)
def test_a_function_that_cannot_be_called_as_a_handler_is_an_error(function: Callable[..., Any]) -> None:
    messages = list(faults_of(found(on("push")(function))))
    assert [message.id for message in messages] == ["webhooks.E010"]
    assert "must be synchronous and take the event" in messages[0].msg


class Asynchronous:
    async def __call__(self, event: Event) -> None: ...


def test_an_object_whose_call_is_asynchronous_is_an_error() -> None:
    module = handlers()
    module.scan = on("push")(Asynchronous())  # type: ignore[attr-defined, type-var]
    assert [message.id for message in faults_of(discover([("acme", module)], defaults=DEFAULTS))] == ["webhooks.E010"]


class Synchronous:
    __hash__ = None  # type: ignore[assignment]

    def __call__(self, event: Event) -> None: ...


def test_an_object_that_can_be_called_goes_by_the_name_that_holds_it() -> None:
    module = handlers()
    module.scan = on("push")(Synchronous())  # type: ignore[attr-defined]
    subscriptions = discover([("acme", module)], defaults=DEFAULTS)
    assert ([one.name for one in subscriptions], sentences(subscriptions)) == (["acme.scan"], [])


def with_run(event: Event, run: Run) -> None: ...


def with_optional_run(event: Event, run: Run | None = None) -> None: ...


def with_a_default_besides(event: Event, attempts: int = 3) -> None: ...


def with_event_by_position(event: Event, /) -> None: ...


@pytest.mark.parametrize(
    "function", [handler(), with_run, with_optional_run, with_a_default_besides, with_event_by_position]
)
def test_a_function_that_takes_the_event_and_perhaps_its_run_is_a_handler(function: Callable[..., Any]) -> None:
    assert sentences(found(on("push")(function))) == []


# --- From outside -----------------------------------------------------------------------------------------------------


def test_an_app_from_outside_joins_without_any_file_edited(tmp_path: Path) -> None:
    program = "tests.support.programs.print_subscriptions"
    done = run_module(program, HOOKLINE_APPS="acme_bot", PYTHONPATH=OUTSIDE, HOOKLINE_DATA_DIR=tmp_path)
    assert done.returncode == 0, done.stderr
    named = json.loads(done.stdout)
    assert named["acme_bot.label_by_path"] == ["io", ["pull_request"], False]
    assert named["acme.triage"] == ["default", ["issue_comment", "issues"], True]
    assert not any(name.startswith("catalog.") for name in named), "Who names apps of his own runs no others."


def test_the_system_check_passes_an_app_without_fault(tmp_path: Path) -> None:
    done = manage("check", HOOKLINE_APPS="acme_bot", PYTHONPATH=OUTSIDE, HOOKLINE_DATA_DIR=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_system_check_says_each_fault_in_one_sentence(tmp_path: Path) -> None:
    done = manage("check", HOOKLINE_APPS="faulty_bot", PYTHONPATH=OUTSIDE, HOOKLINE_DATA_DIR=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    for sentence in (
        "(webhooks.E001) 2 subscriptions are named 'faulty_bot.twin'.",
        "(webhooks.E002) Subscription 'two words': its name must be 1 to 100",
        "(webhooks.E003) Subscription 'faulty_bot.badly_queued': queue 'a/b' must be 1 to 90",
        "(webhooks.E004) Subscription 'faulty_bot.without_event': it names no event.",
        "(webhooks.E005) Subscription 'faulty_bot.without_time': time_limit is 0; it must be between 1 and 86,400",
        "(webhooks.E006) Subscription 'faulty_bot.soft_as_hard': soft_time_limit (10) must be above 0",
        "(webhooks.E007) Subscription 'faulty_bot.never_tried': max_attempts is 0; it must be between 1 and 1,000.",
        "(webhooks.E008) Subscription 'faulty_bot.back_in_time': backoff must have 0 <= first <= longest, in seconds.",
        "(webhooks.E009) Subscription 'faulty_bot.nowhere': where['repository..full_name']: the path has",
        "(webhooks.E009) Subscription 'faulty_bot.matched_by_nothing': where['repository.full_name'] must be",
        "(webhooks.E010) Subscription 'faulty_bot.asynchronous': its function must be synchronous",
        "(webhooks.E010) Subscription 'faulty_bot.generating': its function must be synchronous",
        "(webhooks.E010) Subscription 'faulty_bot.without_parameters': its function must be synchronous",
        "(webhooks.E010) Subscription 'faulty_bot.with_one_too_many': its function must be synchronous",
        "(webhooks.E010) Subscription 'faulty_bot.with_run_by_keyword': its function must be synchronous",
        "(webhooks.E010) Subscription 'faulty_bot.with_run_behind_another': its function must be synchronous",
        "(webhooks.W001) Subscription 'faulty_bot.misspelt': GitHub documents no event named 'pull_requests'.",
    ):
        assert [line for line in lines if sentence in line] != [], sentence


@pytest.mark.parametrize("command", ["receiver", repeated("relay"), repeated("worker")])
def test_nothing_starts_with_a_faulty_subscription(command: str, tmp_path: Path) -> None:
    done = manage(command, HOOKLINE_APPS="faulty_bot", PYTHONPATH=OUTSIDE, HOOKLINE_DATA_DIR=tmp_path)
    assert done.returncode == 1
    assert "2 subscriptions are named 'faulty_bot.twin'." in done.stderr


LOST = (
    "lost_library.lost_in_a_library",
    "lost_bot.jobs.imported_by_nobody",
    "lost_bot.handlers.shadowed",
    "lost_bot.handlers.LostMethods.lost_method",
    "lost_bot.handlers.LostMethods.lost_static",
    "lost_bot.handlers.LostMethods.lost_static_above",
    "lost_bot.handlers.LostMethods.lost_class_method",
    "lost_bot.handlers._nest.<locals>.lost_nested",
    "lost_bot.handlers.<lambda>",
    "functools.partial",
    "lost_bot.handlers.LostMethods.bound",
    "lost_bot.handlers.<lambda>",
    "lost_bot.handlers.<lambda>",
    "lost_bot.handlers.lost_deleted",
    "lost_bot.handlers.lost_mark",
)


def test_a_declaration_that_nobody_would_find_is_an_error_that_says_where_it_stands(tmp_path: Path) -> None:
    done = manage("check", HOOKLINE_APPS="lost_bot", PYTHONPATH=OUTSIDE, HOOKLINE_DATA_DIR=tmp_path)
    assert done.returncode == 1
    errors = [line.split(" ")[2] for line in done.stderr.splitlines() if "(webhooks.E" in line]
    assert sorted(errors) == sorted(LOST)
    place = f"{OUTSIDE}/lost_bot/jobs.py:10"
    assert f"lost_bot.jobs.imported_by_nobody is declared a handler at {place}, and would never run." in done.stderr


def test_what_a_name_holds_is_found_whatever_it_is_and_the_outermost_of_it_runs(tmp_path: Path) -> None:
    program = "tests.support.programs.print_found_handlers"
    done = run_module(program, HOOKLINE_APPS="lost_bot", PYTHONPATH=OUTSIDE, HOOKLINE_DATA_DIR=tmp_path)
    names, said = done.stdout.splitlines()
    assert json.loads(names) == [
        f"lost_bot.{name}"
        for name in ("imported_by_name", "shadowed", "found_of_two", "found_wrapped", "found_partial", "found_lambda")
    ] + ["lost_bot.found_conditional"]
    assert said == "outer, inner"


@pytest.mark.parametrize(
    ("imported", "lost"),
    [
        (["later_bot.signals"], ["later_bot.signals.scan"]),
        (["later_bot.test_handlers"], []),
        repeated(["later_bot.tests.of_handlers"], []),
        repeated(["later_bot.handlers", "again"], []),
        (["shelved_bot.handlers"], []),
    ],
)
def test_what_is_declared_later_counts_if_it_is_the_apps_and_no_tests(
    tmp_path: Path, imported: list[str], lost: list[str]
) -> None:
    declaring = "from webhooks import on\n\n@on('push')\ndef scan(event): ...\n"
    (tmp_path / "later_bot" / "tests").mkdir(parents=True)
    for name in ("handlers", "signals", "test_handlers", "tests/of_handlers"):
        (tmp_path / "later_bot" / f"{name}.py").write_text(declaring)
    done = run_module(
        "tests.support.programs.check_after_import",
        *imported,
        HOOKLINE_APPS="later_bot",
        PYTHONPATH=f"{tmp_path}:{OUTSIDE}",
        HOOKLINE_DATA_DIR=tmp_path / "data",
    )
    assert done.returncode == 0, done.stderr
    assert [line.split(" ")[0] for line in done.stdout.splitlines()] == lost


def test_an_unknown_event_alone_does_not_stop_the_start(tmp_path: Path) -> None:
    done = manage("check", HOOKLINE_APPS="typing_bot", PYTHONPATH=OUTSIDE, HOOKLINE_DATA_DIR=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "GitHub documents no event named 'pull_requests'." in done.stderr


def test_an_import_error_inside_an_apps_handlers_surfaces_with_its_traceback(tmp_path: Path) -> None:
    done = manage("check", HOOKLINE_APPS="broken_bot", PYTHONPATH=OUTSIDE, HOOKLINE_DATA_DIR=tmp_path)
    assert done.returncode != 0
    assert str(OUTSIDE / "broken_bot" / "handlers.py") in done.stderr
    assert "ModuleNotFoundError: No module named 'a_library_that_nobody_installed'" in done.stderr


def test_an_app_that_cannot_be_found_is_one_sentence_that_names_the_variable(tmp_path: Path) -> None:
    done = manage("check", HOOKLINE_APPS="nobodys_bot", HOOKLINE_DATA_DIR=tmp_path)
    assert done.returncode != 0
    assert done.stderr.startswith("hookline: HOOKLINE_APPS: ")
