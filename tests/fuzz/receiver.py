"""Sends a receiver great numbers of odd requests over a socket and holds it to its promises.

Whatever comes: no 5xx, no answer that takes a second, the same processes, no error in the log; what is signed and well
formed is accepted and stored, and nothing else is stored.
"""

import hashlib
import itertools
import sqlite3
import tempfile
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.fuzz.client import Answer, Judged, ask_alone, ask_in_row
from tests.fuzz.inputs import Input, input_of
from tests.fuzz.paths import read_paths
from tests.fuzz.verdict import judge
from tests.support.receiver_process import Receiver

APP = "tests.fuzz.team"
"""What the receiver is to have installed."""
HANGS_SECONDS = 1.0
TRIES = 3
PAUSE_SECONDS = 2.0
CLIENTS = 3
AT_A_TIME = 24
"""How many inputs a client draws before it sends them."""
ROW_BYTES = 100_000
MOST_FINDINGS = 10
COMPLAINTS = ("Traceback", " ERROR ", " CRITICAL ", "[ERROR]", "panicked")


@dataclass
class Report:
    """What was sent, what came back, and what should not have."""

    seed: int
    sent: int = 0
    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    good: int = 0
    """Inputs that had to be accepted."""
    asked_again: int = 0
    """Inputs whose answer took a second or was 503, and that were sent again."""
    stored: int = 0
    unheard: int = 0
    """Signed inputs of whose fate nothing was heard when they were sent first."""
    told: set[uuid.UUID] = field(default_factory=set)
    """The GUIDs of what was accepted."""
    signed: defaultdict[uuid.UUID, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    """The digests of the signed bodies that were sent under each GUID."""
    findings: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        statuses = ", ".join(f"{status or 'none'} {count:,}" for status, count in sorted(self.statuses.items()))
        return (
            f"seed {self.seed}: {self.sent:,} inputs in {self.seconds:.1f} s ({self.sent / self.seconds:,.0f}/s), "
            f"{self.good:,} of them good deliveries; {self.stored:,} rows\n"
            f"answers: {statuses}; asked again: {self.asked_again}"
        )


class Fuzz:
    """One bombardment of a receiver."""

    def __init__(self, receiver: Receiver, *, seed: int) -> None:
        read_paths()  # Here, once: the clients' threads have no database.
        self._receiver = receiver
        self._port = receiver.port
        self._lock = threading.Lock()
        self.report = Report(seed)

    def run(self, numbers: Iterable[int], *, seconds: float) -> Report:
        """Send the inputs of these numbers, for so long at most, and look at the receiver afterwards."""
        processes = self._receiver.workers()
        started = time.monotonic()
        remaining = iter(numbers)
        clients = [threading.Thread(target=self._send, args=[remaining, started + seconds]) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        self.report.seconds = time.monotonic() - started
        self._look_at_process(processes)
        self._look_at_inbox()
        return self.report

    def _send(self, remaining: Iterator[int], deadline: float) -> None:
        try:
            while time.monotonic() < deadline and len(self.report.findings) < MOST_FINDINGS:
                with self._lock:
                    numbers = list(itertools.islice(remaining, AT_A_TIME))
                if not numbers:
                    return
                for judged, answer in self._answered([input_of(self.report.seed, number) for number in numbers]):
                    self._hold(judged, answer)
        except Exception as error:
            self.report.findings.append(f"a client of the fuzz failed: {error!r}")
            raise

    def _answered(self, inputs: Sequence[Input]) -> Iterator[tuple[Judged, Answer]]:
        judged = [Judged(one, judge(one.data)) for one in inputs]
        row: list[Judged] = []
        for one in judged:
            if not one.verdict.is_plain:
                yield one, ask_alone(self._port, one)
                continue
            row.append(one)
            if sum(len(other.input.data) for other in row) > ROW_BYTES:
                yield from ask_in_row(self._port, row)
                row = []
        yield from ask_in_row(self._port, row)

    # --- Each answer --------------------------------------------------------------------------------------------------

    def _hold(self, judged: Judged, first: Answer) -> None:
        answer, is_heard = first, bool(first.status)
        while is_spoilt(answer) and answer.tries < TRIES:
            # A busy machine may be slow, or its disk too slow for the inbox: that is no fault of the input.
            is_heard = False
            time.sleep(PAUSE_SECONDS)
            answer = replace(ask_alone(self._port, judged), tries=answer.tries + 1)
        for fault in faults(judged, answer):
            self._found(judged, fault)
        with self._lock:
            self._count(judged, answer, is_heard=is_heard)

    def _count(self, judged: Judged, answer: Answer, *, is_heard: bool) -> None:
        report, verdict = self.report, judged.verdict
        report.sent += 1
        report.statuses[answer.status] += 1
        report.kinds.update(judged.input.kinds)
        report.good += verdict.must_be_accepted
        report.asked_again += answer.tries > 1
        if verdict.signed is None:
            return
        guid, body = verdict.signed
        report.signed[guid].add(hashlib.sha256(body).digest())
        report.unheard += not is_heard
        if answer.tells_of_delivery:
            report.told.add(guid)

    def _found(self, judged: Judged, what: str) -> None:
        seed, number = self.report.seed, judged.input.number
        self.report.findings.append(
            f"{what}\n"
            f"  input {number} ({', '.join(judged.input.kinds)}): {judged.input.data[:1500]!r}\n"
            f"  again: python -m tests.fuzz --seed {seed} --only {number}"
        )

    # --- Afterwards ---------------------------------------------------------------------------------------------------

    def _look_at_process(self, processes: Sequence[int]) -> None:
        findings = self.report.findings
        if not self._receiver.is_live():
            findings.append("the receiver is not live any more")
        if self._receiver.process.poll() is not None or self._receiver.workers() != processes:
            findings.append(f"the receiver's processes were {processes} and are others now")
        lines = self._receiver.log.read_text(errors="replace").splitlines()
        findings += [f"in the log: {line}" for line in lines if any(word in line for word in COMPLAINTS)][
            :MOST_FINDINGS
        ]

    def _look_at_inbox(self) -> None:
        """Hold what is stored against what was sent signed, and what was accepted against what is stored."""
        report = self.report
        rows = stored_in(self._receiver.log.parent)
        report.stored = len(rows)
        for guid, digest in rows:
            if digest not in report.signed.get(guid, ()):
                report.findings.append(f"stored under {guid} what nobody signed")
        report.findings += [
            f"accepted and not stored: {guid}" for guid in report.told.difference(guid for guid, _ in rows)
        ]
        untold = len(rows) - report.statuses[202]
        if not 0 <= untold <= report.unheard:
            report.findings.append(f"{len(rows)} rows for {report.statuses[202]} answers of 202")


def is_spoilt(answer: Answer) -> bool:
    return answer.seconds > HANGS_SECONDS or answer.status == 503


def faults(judged: Judged, answer: Answer) -> list[str]:
    """Say what is wrong with the answer to an input."""
    verdict, found = judged.verdict, []
    if answer.seconds > HANGS_SECONDS:
        found.append(f"no answer within {HANGS_SECONDS:g} s, {TRIES} times")
    if answer.status >= 500:
        found.append(f"answered {answer.status}")
    if verdict.is_plain and not answer.status:
        found.append("not answered")
    if verdict.must_be_accepted and not answer.tells_of_delivery:
        found.append(f"a good delivery was answered {answer.status}")
    if verdict.must_be_refused and answer.tells_of_delivery:
        found.append(f"a body that is no JSON was answered {answer.status}")
    if answer.tells_of_delivery and verdict.signed is None:
        found.append(f"answered {answer.status} without a valid signature")
    return found


@contextmanager
def directory() -> Iterator[Path]:
    """Make a directory for the receiver, in memory where there is one: it is not the disk that is tried here."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="hookline-fuzz-", dir=memory if memory.is_dir() else None) as made:
        yield Path(made)


def stored_in(directory: Path) -> list[tuple[uuid.UUID, bytes]]:
    """Return the GUID and the digest of the body of each delivery in the embedded inbox."""
    query = "SELECT guid, body FROM webhooks_delivery JOIN webhooks_payload ON delivery_id = webhooks_delivery.id"
    inbox = sqlite3.connect(f"file:{directory / 'hookline.sqlite3'}?mode=ro", uri=True)
    try:
        return [(uuid.UUID(guid), hashlib.sha256(body).digest()) for guid, body in inbox.execute(query)]
    finally:
        inbox.close()
