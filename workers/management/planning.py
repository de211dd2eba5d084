"""Makes a plan of `plan_capacity`'s arguments: from manifests, the inbox and given values; says what is assumed."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from django.utils import timezone

from webhooks.console.search import field_of
from webhooks.inbox import measured
from webhooks.management.migrated import on_migrated_database
from workers.capacity.given import BASE, Given, given
from workers.capacity.jobs import (
    Arrival,
    Handlers,
    Jobs,
    PlanError,
    Synthetic,
    jobs_of,
    multiplied,
    synthetic,
)
from workers.capacity.metrics import SCRAPE_SECONDS
from workers.capacity.policies import MOST_WORKERS, Scaling, fixed, named
from workers.capacity.simulation import Setup
from workers.deployment.manifests import Manifest

USUAL_CPU_SHARE = 0.2
"""Of handlers that mostly wait for GitHub's API; nothing measures it."""
USUAL_CORES = 1.0
"""Of a worker: its request is less, and what its node has left beyond that is not known here."""
USUAL_POLICIES = ("cpu:60", "age:30", "depth:350")
"""A higher target of CPU than the base's, and those of the component `backlog-autoscaling`."""
BURST_AFTER_SECONDS = 300.0
"""A burst on top of a rate begins when the rate has gone on for so long."""
POSITIVE = ("over", "window", "times", "handler_seconds", "cores", "min", "max", "concurrency", "target_wait", "burst")
NOT_NEGATIVE = ("rate", "handler_cpu_seconds", "cpu_share", "container_seconds", "price", "beside_cpu_seconds")
LEAST_SCRAPE_SECONDS = 1.0
MOST = {
    "over": 604_800,
    "window": 10_080,
    "container_seconds": 86_400,
    "scrape_seconds": 3_600,
    "concurrency": 10_000,
    "min": MOST_WORKERS,
    "max": MOST_WORKERS,
}
"""What is larger takes a simulation longer than anybody waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that a comparison needs, and sentences on where it is from."""

    jobs: Jobs
    setup: Setup
    scalings: Sequence[Scaling]
    grace_seconds: float
    target_seconds: float
    price: float | None
    lines: Sequence[str]


def plan_of(manifests: Sequence[Manifest] | None, options: Mapping[str, Any]) -> Plan:
    """Return the plan; `manifests` is None if none were named. Raises PlanError."""
    _refuse(options)
    lines: list[str] = []
    start = _with_options(BASE if manifests is None else _given(manifests, options["pool"]), options)
    chance = random.Random(options["seed"])  # noqa: S311
    jobs = _jobs(options, chance, lines, start.queues)
    if options["cores"] is None:
        limit = f"{start.kind.limit_cores:g} core{'' if start.kind.limit_cores == 1 else 's'}"
        lines.append(f"Assumed: each worker gets up to {limit} (--cores: what all of them share).")
    lines.insert(0, f"Workers: {_bounds(start.scaling)}, {start.kind.concurrency} children each, as in {start.source}.")
    setup = Setup(
        kind=start.kind,
        cores=options["cores"] or math.inf,
        beside_cpu_seconds=options["beside_cpu_seconds"],
        scrape_seconds=options["scrape_seconds"] or SCRAPE_SECONDS,
        seed=options["seed"],
    )
    return Plan(
        jobs=jobs,
        setup=setup,
        scalings=_scalings(start, options["policy"]),
        grace_seconds=start.grace_seconds,
        target_seconds=options["target_wait"],
        price=options["price"],
        lines=(*lines, *(f"Note: {note}" for note in start.notes)),
    )


def _bounds(scaling: Scaling) -> str:
    return f"{scaling.least}" if scaling.is_fixed else f"{scaling.least} to {scaling.most}"


def _refuse(options: Mapping[str, Any]) -> None:
    for name in (*POSITIVE, *NOT_NEGATIVE, "scrape_seconds"):
        if options[name] is not None:
            _refuse_value(name, options[name])
    if options["handler_cpu_seconds"] is not None and options["handler_seconds"] is None:
        raise PlanError("--handler-cpu-seconds needs --handler-seconds; for measured runs, give --cpu-share.")
    if options["handler_cpu_seconds"] is not None and options["cpu_share"] is not None:
        raise PlanError("Give either --handler-cpu-seconds or --cpu-share.")
    if (options["cpu_share"] or 0) > 1 or (options["handler_cpu_seconds"] or 0) > (options["handler_seconds"] or 0):
        raise PlanError("A handler cannot compute for longer than it runs.")
    if options["since"] and (options["burst"] or options["rate"]):
        raise PlanError("Give either --since, or --burst and --rate.")


def _refuse_value(name: str, value: float) -> None:
    wanted = None
    if not math.isfinite(value) or value < 0 or (value == 0 and name in POSITIVE):
        wanted = "more than 0" if name in POSITIVE else "0 or more"
    elif name == "scrape_seconds" and value < LEAST_SCRAPE_SECONDS:
        wanted = f"{LEAST_SCRAPE_SECONDS:g} or more"
    elif name in MOST and value > MOST[name]:
        wanted = f"{MOST[name]:,} or less"
    if wanted:
        raise PlanError(f"--{name.replace('_', '-')} must be {wanted}; it is {value:g}.")


def _given(manifests: Sequence[Manifest], pool: str | None) -> Given:
    try:
        return given(manifests, pool=pool)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise PlanError(f"Kubernetes would refuse these manifests: {error}.") from error


def _with_options(start: Given, options: Mapping[str, Any]) -> Given:
    """Return the numbers with those of the command line in their place."""
    scaling, kind = start.scaling, start.kind
    least = options["min"] or min(scaling.least, options["max"] or scaling.least)
    most = options["max"] or max(scaling.most, least)
    if least > most:
        raise PlanError(f"--min {least} is more than --max {most}.")
    if (least, most) != (scaling.least, scaling.most):
        scaling = fixed(most) if scaling.is_fixed else replace(scaling, least=least, most=most)
    kind = replace(kind, concurrency=options["concurrency"] or kind.concurrency)
    if options["cores"] is None and kind.limit_cores > USUAL_CORES:
        kind = replace(kind, limit_cores=USUAL_CORES)
    if options["container_seconds"] is not None:
        kind = replace(kind, container_seconds=options["container_seconds"])
    return replace(start, scaling=scaling, kind=kind)


def _scalings(start: Given, texts: Sequence[str]) -> list[Scaling]:
    """Return the policies to compare: those that are named; or the deployment's own, the usual ones, and fixed ones."""
    like, request = start.scaling, start.kind.request_cores
    if texts:
        return [named(text, like=like, request_cores=request) for text in dict.fromkeys(texts)]
    usual = [] if like.is_fixed else [named(text, like=like, request_cores=request) for text in USUAL_POLICIES]
    found = [like, *(each for each in usual if each.metrics != like.metrics), fixed(like.most), fixed(like.least)]
    return list({each.name: each for each in found}.values())


def _jobs(options: Mapping[str, Any], chance: random.Random, lines: list[str], queues: frozenset[str] | None) -> Jobs:
    handlers = _handlers(options, lines, queues)
    if options["burst"] or options["rate"]:
        arrivals = synthetic(_synthetic(options), times=options["times"], chance=chance)
        lines.append(_in_words(options, len(arrivals)))
    else:
        trace = on_migrated_database(lambda: _trace(options, lines, queues), app="webhooks")
        arrivals = multiplied(trace, times=options["times"], chance=chance)
    if not arrivals:
        raise PlanError("No job arrives: there is nothing to plan for.")
    return jobs_of(arrivals, handlers, chance=chance)


def _synthetic(options: Mapping[str, Any]) -> Synthetic:
    rate = options["rate"] or 0.0
    return Synthetic(
        burst=options["burst"] or 0,
        over_seconds=options["over"],
        rate=rate,
        burst_at=BURST_AFTER_SECONDS if rate else 0.0,
    )


def _in_words(options: Mapping[str, Any], count: int) -> str:
    times = f", times {options['times']:g}" if options["times"] != 1 else ""
    parts = [f"{options['rate']:g} a second for half an hour"] if options["rate"] else []
    if options["burst"]:
        parts.append(f"a burst of {options['burst']:,} over {options['over']:g} s")
    return f"Jobs: {count:,}: {' and '.join(parts)}{times}."


def _handlers(options: Mapping[str, Any], lines: list[str], queues: frozenset[str] | None) -> Handlers:
    seconds, cpu_seconds = options["handler_seconds"], options["handler_cpu_seconds"]
    if seconds is not None:
        share = cpu_seconds / seconds if cpu_seconds is not None else options["cpu_share"]
        runs = {"": [seconds]}
        lines.append(f"Handlers: {seconds:g} s each.")
    else:
        share = options["cpu_share"]
        runs = on_migrated_database(lambda: measured.run_seconds(queues), app="webhooks")
        count = sum(map(len, runs.values()))
        if not count:
            raise PlanError("The inbox has no runs to take handlers' times from: give --handler-seconds.")
        lines.append(f"Handlers: {count:,} measured runs of {len(runs)} handler{'' if len(runs) == 1 else 's'}.")
    if share is None:
        share = USUAL_CPU_SHARE
        lines.append(f"Assumed: handlers compute for {share:.0%} of their time, and wait else (--cpu-share).")
    return Handlers(runs, share)


def _trace(options: Mapping[str, Any], lines: list[str], queues: frozenset[str] | None) -> list[Arrival]:
    now, length = timezone.now(), timedelta(minutes=options["window"])
    try:
        since = field_of("since", options["since"] or "24h", now=now)
    except ValueError as error:
        raise PlanError(f"--since: {error}") from None
    begin = measured.busiest_window(since, now=now, length=length)
    found = measured.trace(begin, begin + length, queues=queues)
    if not found.jobs:
        raise PlanError("The inbox has no jobs of that time: give --burst or --rate, or another --since.")
    lines.append(
        f"Jobs: {len(found.jobs):,} of the inbox, from {begin:%Y-%m-%d %H:%M} UTC on for {options['window']:g} min, "
        f"times {options['times']:g}."
    )
    if found.is_cut_off:
        lines.append(
            f"Note: only the first {measured.MOST_JOBS:,} jobs of that time are used; give a shorter --window."
        )
    return [Arrival((job.at - begin).total_seconds(), job.handler) for job in found.jobs]
