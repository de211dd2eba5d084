"""Starts everything on the embedded default, sends samples through it, and says where to look.

It runs until a signal asks it to stop. Then it asks the supervisor once to stop the programs, and waits until running
handlers are done.
"""

import sys
import time
from collections import Counter
from collections.abc import Callable

from django.conf import settings
from django.db import connections

from deploy import preparation, samples
from deploy.changes import Changes
from deploy.preparation import QuickstartError, shown
from deploy.supervision import Exit, Supervisor
from deploy.terminal import StopRequests
from webhooks import local_run
from webhooks.github_api.access import hooks_of
from webhooks.listening import url_of
from webhooks.local_run import LocalRun

START_SECONDS = 60
SAMPLE_SECONDS = 30
POLL_SECONDS = 0.2
WITH_HANDLERS = ("receiver", "relay", "worker")
EXITS_AT_START = 2
"""How often a program that has never stayed up may end before the start counts as failed."""

NOT_ON_LINUX = (
    "This is not Linux: processes that a handler leaves behind are not ended, its memory has no limit, and nothing but "
    "HOOKLINE_KEEP_ALIVE_SECONDS ends slow headers. That is fine for writing handlers; in production, use Linux."
)


def run(requests: StopRequests) -> int:
    """Return the exit status: 0 after a stop that was asked for, else 1."""
    try:
        preparation.load_settings()
        with preparation.lock_data_directory(settings.HOOKLINE_DATA_DIR) as lock:
            preparation.check_ports()
            say("Hookline starts the receiver, the relay, a worker and Flower ...")
            if sys.platform != "linux":
                say(NOT_ON_LINUX)
            is_new = preparation.prepare()
            if requests.count:
                return 0
            supervisor = Supervisor(
                data_directory=settings.HOOKLINE_DATA_DIR, stop_seconds=preparation.stop_seconds(), lock=lock
            )
            preparation.note_process(lock, supervisor.pid)
            local_run.note(settings.HOOKLINE_DATA_DIR, LocalRun(receiver=receiver_url(), flower=flower_url()))
            try:
                return Session(supervisor, requests).run(is_new=is_new)
            finally:
                local_run.forget(settings.HOOKLINE_DATA_DIR)
    except QuickstartError as error:
        say(f"hookline: {error}")
        return 1


class _Ended(Exception):  # noqa: N818
    """Somebody asked to stop, or the supervisor has ended."""


class Session:
    """The time from the supervisor's start to its end."""

    def __init__(self, supervisor: Supervisor, requests: StopRequests) -> None:
        self.supervisor = supervisor
        self.requests = requests
        self.early_exits: Counter[str] = Counter()
        self.answered_requests = 0
        self.changes = Changes(preparation.own_folders())

    def run(self, *, is_new: bool) -> int:
        try:
            self.start(is_new=is_new)
            while True:
                for exited in self.pause():
                    say(
                        f"{exited.program} ended ({exited.how}) and is started again; see {self.log_of(exited.program)}"
                    )
                if self.changes.are_complete():
                    self.load_changes()
        except _Ended:
            return self.end()
        except QuickstartError as error:
            say(f"\nhookline: {error}\n\nstopping the rest")
            return 1
        finally:
            # No program keeps running, whatever went wrong above.
            self.stop()

    def start(self, *, is_new: bool) -> None:
        self.wait_until(samples.receiver_is_ready, "the receiver did not become ready", program="receiver")
        self.wait_until(samples.flower_answers, "Flower did not answer", program="flower")
        sent = samples.send()
        deadline = time.monotonic() + SAMPLE_SECONDS
        while not sent.are_done() and time.monotonic() < deadline:
            self.pause()
        while set(self.early_exits) - self.supervisor.settled:
            self.pause()
        say(summary(sent, is_new=is_new))
        connections.close_all()

    def load_changes(self) -> None:
        """Restart the programs that import handlers, unless the changed code cannot be used."""
        if fault := preparation.fault_of_changes():
            say(f"{','.join(settings.HOOKLINE_APPS)} has changed, but cannot be loaded:\n{indented(fault)}")
            return
        say(f"{','.join(settings.HOOKLINE_APPS)} has changed: {', '.join(WITH_HANDLERS)} start again")
        self.supervisor.restart(*WITH_HANDLERS)
        self.wait_until(lambda: "receiver" not in self.supervisor.restarting, "it did not stop", program="receiver")
        self.wait_until(samples.receiver_is_ready, "the receiver did not become ready", program="receiver")
        say("the changes are loaded")

    def wait_until(self, condition: Callable[[], bool], complaint: str, *, program: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise self.failure(f"{complaint} within {START_SECONDS} s", program)
            self.pause()

    def pause(self) -> list[Exit]:
        """Wait POLL_SECONDS; return the programs that have ended. Fail if one never stays up."""
        if self.requests.count or self.supervisor.has_ended:
            raise _Ended
        time.sleep(POLL_SECONDS)
        exits = self.supervisor.exits()
        for exited in exits:
            if exited.program in self.supervisor.settled:
                continue
            self.early_exits[exited.program] += 1
            if self.early_exits[exited.program] >= EXITS_AT_START:
                raise self.failure(f"{exited.program} does not stay up ({exited.how})", exited.program)
        return exits

    def failure(self, sentence: str, program: str) -> QuickstartError:
        lines = "\n".join(self.supervisor.last_lines(program))
        return QuickstartError(f"{sentence}. The end of {self.log_of(program)}:\n{indented(lines)}")

    def log_of(self, program: str) -> str:
        return shown(self.supervisor.logs / f"{program}.log")

    def end(self) -> int:
        """Stop the programs that still run; return the exit status."""
        if not self.requests.count:
            say(f"hookline: {self.failure('the supervisor has ended by itself', self.supervisor.own_log)}")
            return 1
        self.answered_requests = self.requests.count
        say("\nstopping: waiting for running handlers")
        self.stop()
        say("stopped; `make run` carries on where this was")
        return 0

    def stop(self) -> None:
        """Ask for a warm stop once, and wait for it however often Ctrl-C comes."""
        self.supervisor.stop()
        while not self.supervisor.has_ended:
            time.sleep(POLL_SECONDS)
            if self.requests.count > self.answered_requests:
                self.answered_requests = self.requests.count
                say(f"still waiting for running handlers, {preparation.stop_seconds()} s at most")


def summary(sent: samples.Samples, *, is_new: bool) -> str:
    """Return what happened and where to look, aligned."""
    url = receiver_url()
    rows = [
        ("Samples", sent.in_words(SAMPLE_SECONDS)),
        ("", ""),
        ("Webhooks", f"{url}/webhooks/{settings.HOOKLINE_SOURCES[0]}"),
        ("Console", f"{url}/"),
        ("Flower", flower_url()),
        ("User", settings.HOOKLINE_OPERATOR_USER),
        ("Password", _password(is_new=is_new)),
        ("Logs", f"{shown(settings.HOOKLINE_DATA_DIR / 'logs')}/"),
        ("", ""),
        ("Next", "make send             send more of them and watch the console"),
        ("", "make app NAME=acme    lay out handlers of your own"),
        ("", "make pull ARGS=…      bring a delivery here from an installation: docs/github.md"),
        ("", "make help             see the rest"),
        *(("", f"{command:<22}{what}") for command, what in _with_credentials()),
        ("", "Ctrl-C                stop, once running handlers are done"),
    ]
    return "\n".join(["", *(f"  {label:<10}{text}".rstrip() for label, text in rows), ""])


def _with_credentials() -> list[tuple[str, str]]:
    """Return what can be done with the App's key or a token, if one is given. It is not done unasked."""
    if not any(list(hooks_of(source)) for source in settings.HOOKLINE_SOURCES):
        return []
    return [("manage.py reconcile", "take in what GitHub could not deliver")]


def receiver_url() -> str:
    return url_of(settings.HOOKLINE_HOST, settings.HOOKLINE_PORT)


def flower_url() -> str:
    return f"{url_of(settings.HOOKLINE_HOST, settings.HOOKLINE_FLOWER_PORT)}{samples.flower_path()}"


def indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def _password(*, is_new: bool) -> str:
    if not preparation.password_is_generated():
        return "as given in HOOKLINE_OPERATOR_PASSWORD"
    kept = f"in {shown(settings.HOOKLINE_DATA_DIR / 'secrets.json')}"
    return f"{settings.HOOKLINE_OPERATOR_PASSWORD}   (shown this once; kept {kept})" if is_new else kept


def say(text: str) -> None:
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except OSError:
        return  # The terminal is closed; the programs still have to be stopped.
