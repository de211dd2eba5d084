"""`python -m tests.drain`: stop workers as Kubernetes does, and print the table. Exit status 1 if something failed."""

import argparse
import random
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from tests.drain import containers, drains, storm
from tests.drain.fleet import running_drain_fleet
from tests.drain.report import Report
from tests.drain.table import lines
from tests.faults.scene import BROKERS
from tests.faults.servers import Broker, OwnPostgres, own_postgres
from tests.faults.suite import own_broker

SCENES = ("drain", "storm")
Scene = Callable[..., Report]


def main() -> int:
    options = read_options()
    # So that whoever ends this ends its servers too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    reports = []
    for report in run_all(options):
        announce(report)
        reports.append(report)
    print("\n".join(lines(reports)))
    return int(any(report.failures for report in reports))


def run_all(options: argparse.Namespace) -> Iterator[Report]:
    if options.containers:
        yield containers.run(stops=options.stops, draw=random.Random(options.seed))
        return
    with own_postgres() as postgres:
        for name in options.broker or BROKERS:
            with own_broker(name) as broker:
                for scene_name, scene in scenes(options):
                    draw = random.Random(f"{options.seed} {scene_name}")
                    yield run_safely(scene_name, partial(scene, broker=name, draw=draw), broker, postgres)


def scenes(options: argparse.Namespace) -> Iterator[tuple[str, Scene]]:
    """Yield what the options ask for."""
    if "drain" in options.scenes:
        for form in drains.FORMS:
            yield form.name, partial(drains.run, form=replace(form, stops=options.stops))
    if "storm" in options.scenes:
        weather = storm.Weather(workers=options.workers, seconds=options.seconds)
        yield "storm", partial(storm.run, weather=weather)


def run_safely(name: str, scene: Scene, broker: Broker, postgres: OwnPostgres) -> Report:
    """Run a scene on a fleet of its own; one that breaks off must not keep the others from running."""
    try:
        with running_drain_fleet(postgres, broker) as fleet:
            return scene(fleet)
    except Exception as error:
        traceback.print_exc()
        return Report(name=name, broker=broker.name, consumers=0, failures=[f"broke off: {error}"])


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.drain", description=__doc__)
    parser.add_argument("scenes", nargs="*", metavar="SCENE", help="drain or storm; both by default")
    parser.add_argument("--broker", action="append", choices=BROKERS, help="only on this one; may be given twice")
    parser.add_argument("--stops", type=int, default=5, help="pods that are stopped in each form of the drain")
    parser.add_argument("--seconds", type=float, default=120, help="how long the storm lasts")
    parser.add_argument("--workers", type=int, default=20, help="how many places the storm has")
    parser.add_argument("--seed", type=int, default=0, help="what everything random is drawn from")
    parser.add_argument("--containers", action="store_true", help="the drain on real containers, with podman")
    options = parser.parse_args()
    options.scenes = options.scenes or list(SCENES)
    if unknown := set(options.scenes) - set(SCENES):
        parser.error(f"no such scene: {', '.join(sorted(unknown))}")
    return options


def announce(report: Report) -> None:
    verdict = report.not_run or ("FAILED: " + " | ".join(report.failures) if report.failures else "ok")
    print(f"{report.name} on {report.broker}, {report.seconds:.0f} s: {verdict}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
