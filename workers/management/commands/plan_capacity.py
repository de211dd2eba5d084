"""`manage.py plan_capacity`: how many workers, by which policy, at what cost, for a burst that has not come yet."""

import json
import math
from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webhooks.management.tables import console_on, table
from workers.capacity.answer import Comparison, answer, compared
from workers.capacity.jobs import PlanError
from workers.capacity.pictures import picture
from workers.capacity.policies import KINDS
from workers.capacity.results import Result
from workers.deployment.manifests import UnreadableManifestError
from workers.management.manifest_files import manifests_of
from workers.management.planning import Plan, plan_of

EXAMPLE = f"""\
  manage.py plan_capacity --burst 30000 --over 40 --handler-seconds 0.2 --handler-cpu-seconds 0.02
  manage.py plan_capacity --since 7d --window 60 --times 3
  kubectl kustomize deploy/kubernetes/overlays/production | manage.py plan_capacity - --burst 30000 --price 0.05

How many workers there may be, how they are scaled and how they stop is read from the manifests, or is the base's. How
long handlers run, and when jobs come, is read from the inbox if it is not given. What is not known is assumed, and the
output says so.
Policies: {", ".join(KINDS)}; several joined by +, of which the one that asks for more workers counts.
Exit status: 0, also if no policy is fast enough; or 1 if a value is wrong or missing, or the database does not answer.
"""


class Command(BaseCommand):
    help = "Simulate a burst under several autoscaling policies: waits, workers, cost, and interrupted runs."
    requires_system_checks = ()
    requires_migrations_checks = False

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> CommandParser:
        return super().create_parser(
            prog_name, subcommand, epilog=EXAMPLE, formatter_class=RawDescriptionHelpFormatter, **options
        )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("files", nargs="*", metavar="FILE", help="Rendered manifests; - for standard input.")
        parser.add_argument("--pool", metavar="NAME", help="The workers' Deployment, if there are several.")
        _add_jobs(parser)
        _add_fleet(parser)
        parser.add_argument("--price", type=float, metavar="MONEY", help="Of a replica-hour: adds the cost.")
        parser.add_argument(
            "--target-wait", type=float, default=30.0, metavar="SECONDS", help="The p99 wait wanted; default 30."
        )
        parser.add_argument("--seed", type=int, default=1, help="Of everything random; default 1.")
        parser.add_argument("--format", choices=["table", "json"], default="table", help="Default table.")
        parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="Write a picture.")

    def handle(self, *, files: list[str], format: str, plot: Path | None, **options: Any) -> None:
        try:
            manifests = manifests_of(files)
            plan = plan_of(manifests if files else None, options)
            comparison = compared(plan.scalings, plan.jobs, plan.setup, target_seconds=plan.target_seconds)
        except (PlanError, UnreadableManifestError) as error:
            raise CommandError(str(error)) from None
        if plot is not None:
            _write(plot, picture(comparison.results))
        if format == "json":
            self.stdout.write(json.dumps(_in_json(plan, comparison), indent=2))
            return
        header, rows = _cells(comparison, plan.price)
        shown = table(header, rows, numbers=range(1, len(header)))
        console = console_on(self.stdout)
        for each in (*plan.lines, shown, *_risks(plan, comparison), answer(comparison)):
            console.print(each)


def _add_jobs(parser: CommandParser) -> None:
    group = parser.add_argument_group("what arrives (default: the busiest hour of the last day, from the inbox)")
    group.add_argument("--burst", type=int, metavar="JOBS", help="So many jobs, evenly, within --over.")
    group.add_argument("--over", type=float, default=60.0, metavar="SECONDS", help="Default 60.")
    group.add_argument("--rate", type=float, metavar="JOBS", help="So many jobs a second, at random, for half an hour.")
    group.add_argument("--since", metavar="TIME", help="From the inbox: since 2h, 7d or 2026-05-04T14:30.")
    group.add_argument("--window", type=float, default=60.0, metavar="MINUTES", help="The busiest so many; default 60.")
    group.add_argument("--times", type=float, default=1.0, metavar="FACTOR", help="So many times as many jobs.")
    group.add_argument("--handler-seconds", type=float, metavar="SECONDS", help="A run's time; else from the inbox.")
    group.add_argument("--handler-cpu-seconds", type=float, metavar="SECONDS", help="How much of it computes.")
    group.add_argument("--cpu-share", type=float, metavar="SHARE", help="Or which part of it computes, 0 to 1.")


def _add_fleet(parser: CommandParser) -> None:
    group = parser.add_argument_group("the fleet")
    group.add_argument("--policy", action="append", default=[], metavar="POLICY", help="To compare; may be repeated.")
    group.add_argument("--cores", type=float, help="That all workers share; default: each gets up to one.")
    group.add_argument("--min", type=int, metavar="WORKERS", help="Else the autoscaler's.")
    group.add_argument("--max", type=int, metavar="WORKERS", help="Else the autoscaler's.")
    group.add_argument("--concurrency", type=int, metavar="CHILDREN", help="Of a worker; else the deployment's.")
    group.add_argument("--container-seconds", type=float, help="Until a pod's container runs (node, image); default 3.")
    group.add_argument("--scrape-seconds", type=float, help="Prometheus' interval; default 15.")
    group.add_argument("--beside-cpu-seconds", type=float, default=0.0, help="Of others on these cores, a job.")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}.") from None


def _cells(comparison: Comparison, price: float | None) -> tuple[list[str], list[list[str]]]:
    header = ["policy", "p50", "p99", "max", "waiting", "pods", "hours", "cut", *(["cost"] if price else [])]
    return header, [_row(result, comparison, price) for result in comparison.results]


def _row(result: Result, comparison: Comparison, price: float | None) -> list[str]:
    hours = comparison.hours(result)
    return [
        result.name,
        *map(_rounded, (result.p50, result.p99, result.longest)),
        f"{result.most_waiting:,}",
        str(result.most_replicas),
        f"{hours:.2f}",
        str(result.interrupted),
        *([f"{hours * price:.2f}"] if price else []),
    ]


def _rounded(seconds: float) -> str:
    return f"{seconds:.1f}" if seconds < 10 else f"{seconds:,.0f}"


def _risks(plan: Plan, comparison: Comparison) -> Iterator[str]:
    """Yield what the columns mean, and what a stop may interrupt."""
    hours = comparison.seconds / 3600
    yield (
        f"Waits in seconds, until a job's first run; waiting and pods: at most; hours of pods over {hours:.2f} h; cut: "
        "runs that a stopping worker interrupted and handed back."
    )
    patience, grace = plan.setup.kind.patience_seconds, plan.grace_seconds
    longer = plan.jobs.lasting_more_than(patience)
    if longer:
        share = longer / len(plan.jobs)
        yield (
            f"At risk: {longer:,} runs ({share:.1%}) take longer than the {patience:g} s that a stopping worker waits "
            f"(HOOKLINE_GRACE_SECONDS {grace:g}); the longest takes {plan.jobs.longest_seconds:.1f} s."
        )
    else:
        yield f"The longest run takes {plan.jobs.longest_seconds:.3g} s; a stopping worker waits {patience:g} s for it."
    for result in comparison.results:
        if result.unfinished:
            yield f"{result.name}: {result.unfinished:,} jobs had not ended a day after the last one came."


def _in_json(plan: Plan, comparison: Comparison) -> dict[str, Any]:
    best = comparison.best
    return {
        "assumptions": list(plan.lines),
        "jobs": len(plan.jobs),
        "cores": plan.setup.cores if math.isfinite(plan.setup.cores) else None,
        "cores_of_a_worker": plan.setup.kind.limit_cores if math.isfinite(plan.setup.kind.limit_cores) else None,
        "concurrency": plan.setup.kind.concurrency,
        "seconds": comparison.seconds,
        "target_wait_seconds": comparison.target_seconds,
        "longest_run_seconds": plan.jobs.longest_seconds,
        "grace_seconds": plan.grace_seconds,
        "runs_longer_than_grace": plan.jobs.lasting_more_than(plan.setup.kind.patience_seconds),
        "policies": [_policy_in_json(result, comparison, plan.price) for result in comparison.results],
        "best": best.name if best else None,
        "answer": answer(comparison),
    }


def _policy_in_json(result: Result, comparison: Comparison, price: float | None) -> dict[str, Any]:
    hours = comparison.hours(result)
    return {
        "policy": result.name,
        "wait_p50_seconds": result.p50,
        "wait_p99_seconds": result.p99,
        "wait_longest_seconds": result.longest,
        "most_waiting": result.most_waiting,
        "most_replicas": result.most_replicas,
        "drained_at_seconds": result.drained_at,
        "replica_hours": hours,
        "cost": hours * price if price else None,
        "interrupted": result.interrupted,
        "unfinished": result.unfinished,
        "is_fast_enough": comparison.is_fast_enough(result),
        "waited_for_seconds": {holder.value: seconds for holder, seconds in result.held.items()},
    }
