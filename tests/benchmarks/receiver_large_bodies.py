"""What bodies over 1 MiB cost the receiver: its memory, their rate, and what a small delivery waits beside them.

    python -m tests.benchmarks.receiver_large_bodies
    python -m tests.benchmarks.receiver_large_bodies --megabytes 2 --bodies 16

Starts a PostgreSQL and a RabbitMQ of its own and one receiver, and sends it `--bodies` signed payloads of `--megabytes`
MB over eight connections at once, and small ones all the while. Prints the large ones a second, the small ones' median
and slowest answer, and the most memory (PSS) that the receiver was seen to hold. A MB is 2²⁰ bytes.
"""

import argparse
import contextlib
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import urllib3

from tests.benchmarks.role_memory import Highest
from tests.benchmarks.systems import installation, servers
from tests.support.stack import Stack

CONNECTIONS = 8
MB = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bodies", type=int, default=8)
    parser.add_argument("--megabytes", type=float, nargs="*", default=[2, 10, 24.9])
    options = parser.parse_args()
    print(f"{'MB each':>8}{'stored':>8}{'a second':>10}{'small: median':>15}{'slowest':>9}{'memory':>10}")
    for megabytes in options.megabytes:
        with servers() as (database, broker), installation(database, broker) as stack:
            receiver = stack.start("receiver")
            stack.wait_until_ready()
            with Highest({"receiver": receiver.pid}) as memory, SmallOnes(stack) as small:
                began = time.monotonic()
                stored = send(stack, options.bodies, filling="x" * round(megabytes * MB))
                seconds = time.monotonic() - began
        median, slowest = statistics.median(small.seconds) * 1000, max(small.seconds) * 1000
        print(
            f"{megabytes:>8}{stored:>8}{stored / seconds:>10.2f}{median:>12.0f} ms{slowest:>6.0f} ms"
            f"{memory.seen['receiver']:>7.0f} MB"
        )


def send(stack: Stack, bodies: int, *, filling: str) -> int:
    """Send so many payloads, some at a time; return how many were stored."""

    def is_stored(_number: int) -> bool:
        with contextlib.suppress(urllib3.exceptions.HTTPError):  # A slow disk: the sender waits for some seconds only.
            return stack.send("nobody's", filling=filling)[0] == 202
        return False

    with ThreadPoolExecutor(CONNECTIONS) as threads:
        return sum(threads.map(is_stored, range(bodies)))


class SmallOnes:
    """Sends one small delivery after the other while the block runs, and keeps what each took."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self.seconds: list[float] = []

    def __enter__(self) -> "SmallOnes":
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()

    def _send(self) -> None:
        while not self._over.wait(0.05):
            began = time.monotonic()
            self._stack.send("nobody's")
            self.seconds.append(time.monotonic() - began)


if __name__ == "__main__":
    main()
