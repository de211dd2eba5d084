"""What the events of one job cost the dispatcher: CPU on its main loop, and on the thread that sends them.

    python -m tests.benchmarks.job_events --broker rabbitmq --jobs 25000 --rate 2500

Makes and sends the three events of each job at a steady rate, in groups as the inbox's answers have them, to the broker
for tests with one receiver, as Flower is one. The broker's own CPU and the receiver's do not count.
"""

import argparse
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

GROUP = 8
"""How many jobs one answer of the inbox has."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", choices=["filesystem", "rabbitmq", "redis"], default="rabbitmq")
    parser.add_argument("--jobs", type=int, default=25_000)
    parser.add_argument("--rate", type=int, default=2_500, help="jobs a second")
    options = parser.parse_args()

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    import django

    django.setup()
    from tests.support import services
    from tests.support.celery_app import celery_on

    with celery_on(services.URLS.get(options.broker, "filesystem://")), listening() as received:
        loop, sender, dropped = measure(options.jobs, options.rate)
        deadline = time.monotonic() + 10
        while received[0] + dropped < 3 * options.jobs and time.monotonic() < deadline:
            time.sleep(0.1)
    print(f"{options.broker}: {options.jobs:,} jobs at {options.rate:,}/s, three events each")
    print(f"main loop {loop:.1f} µs, thread {sender:.1f} µs a job; received {received[0]:,}, dropped {dropped:,.0f}")


def measure(jobs: int, rate: int) -> tuple[float, float, float]:
    """Return the CPU a job of the main loop and of the sender, in µs, and how many events were dropped."""
    from prometheus_client import CollectorRegistry

    from tests.support.claimed_jobs import claimed_job
    from webhooks.inbox.outcomes import Outcome
    from webhooks.states import AttemptOutcome, JobState
    from workers.dispatcher.event_sender import EventSender
    from workers.dispatcher.events import JobEvents

    registry = CollectorRegistry()
    sender = EventSender(registry)
    events, done = JobEvents("worker-1@host", sender.put), Outcome(kind=AttemptOutcome.SUCCEEDED, message="3 labels")
    began, loop = time.monotonic(), 0.0
    cpu = time.pthread_getcpuclockid(sender._thread.ident or 0)
    for first in range(0, jobs, GROUP):
        claimed = [claimed_job(pk=pk) for pk in range(first, first + GROUP)]
        now, before = time.monotonic(), time.thread_time()
        events.claimed(claimed)
        for job in claimed:
            events.ended((job.pk, 1), job.handler, done, JobState.SUCCEEDED, pid=11, began_at=now, ended_at=now)
        loop += time.thread_time() - before
        time.sleep(max(0.0, began + first / rate - time.monotonic()))
    time.sleep(1)
    used = time.clock_gettime(cpu)
    sender.close(seconds=10)
    dropped = registry.get_sample_value("hookline_worker_events_dropped_total") or 0.0
    return 1e6 * loop / jobs, 1e6 * used / jobs, dropped


@contextmanager
def listening() -> Iterator[list[int]]:
    """Receive events in a process of its own, and count them in the list."""
    import multiprocessing

    context = multiprocessing.get_context("fork")
    count, is_ready = context.Value("i", 0), context.Event()
    process = context.Process(target=receive, args=(count, is_ready), daemon=True)
    process.start()
    is_ready.wait(30)
    received = [0]

    def follow() -> None:
        while process.is_alive():
            received[0] = count.value
            time.sleep(0.05)

    threading.Thread(target=follow, daemon=True).start()
    yield received
    process.terminate()
    process.join()


def receive(count: Any, is_ready: Any) -> None:
    from celery import current_app
    from celery.events import EventReceiver
    from kombu import Consumer

    def note(_event: object) -> None:
        count.value += 1

    with current_app.connection_for_read() as connection, connection.channel() as channel:
        receiver: Any = EventReceiver(channel, handlers={"*": note}, app=current_app)
        (consumer,) = receiver.get_consumers(lambda **options: Consumer(channel, **options), channel)
        with consumer:
            is_ready.set()
            while True:
                connection.drain_events()


if __name__ == "__main__":
    main()
