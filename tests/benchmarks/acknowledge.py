"""How many webhooks a second are stored and acknowledged, how long each waits, and what CPU one costs.

    python -m tests.benchmarks.acknowledge
    python -m tests.benchmarks.acknowledge --systems hookline embedded --connections 16 --rounds 5

For each system one receiver, on a PostgreSQL (durable commits) and a RabbitMQ of this benchmark's own; "embedded" is
Hookline's on SQLite and the embedded broker. No worker runs. The load is GitHub's own example of a push, for which one
handler is subscribed: signed, each with a new GUID, sent by wrk over so many connections that are kept alive, as fast
as it is answered, by this machine too.
"""

import argparse

from tests.benchmarks.load import body_of, send
from tests.benchmarks.process_use import cpu_by_kind
from tests.benchmarks.systems import System, by_turns
from tests.benchmarks.table import Reading, Table, options
from tests.support.stack import Stack

SYSTEMS = ("hookline", "embedded", "baseline")


def main() -> None:
    parser = options(__doc__, systems=SYSTEMS, seconds=4, rounds=3)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--log-level", default="INFO", help="Hookline's; its lines go to a file (default %(default)s)")
    told = parser.parse_args()
    table = Table(f"Acknowledged, a body of {len(body_of()):,} bytes; latencies and CPU an ack in ms")

    def all_connections(name: str, system: System) -> None:
        with system.installed() as stack:
            system.start_receiver(stack)
            send(stack, body_of(), seconds=1, connections=4)  # Until all connections and plans are there.
            for connections in told.connections:
                table.add(f"{name}, {connections} connections", measure(stack, told, connections))

    by_turns(told, all_connections, log_level=told.log_level)
    table.print()


def measure(stack: Stack, told: argparse.Namespace, connections: int) -> Reading:
    before = cpu_by_kind(stack)
    answers = send(stack, body_of(), seconds=told.seconds, connections=connections)
    after = cpu_by_kind(stack)
    return {
        "acks/s": answers.acknowledged / answers.seconds,
        "p50": answers.p50,
        "p99": answers.p99,
        "max": answers.most,
        "errors": answers.errors,
        **{kind: 1000 * (after[kind] - before[kind]) / answers.acknowledged for kind in after},
    }


if __name__ == "__main__":
    main()
