"""The supervisor of `make run` as a child process: start it, read what its programs do, stop it once.

The child process is supervisord with deploy/supervisord.conf. Its log tells what happens to the programs; the patterns
here fit the log lines of the release that requirements.lock pins.
"""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

CONFIGURATION = Path(__file__).with_name("supervisord.conf")
_SETTLED = re.compile(r" success: (?P<program>\w+) entered RUNNING state")
_ERRORS = "supervisord-errors"
"""The log with supervisord's standard error: errors before its own log is open, such as a faulty configuration."""
_SPAWNED = re.compile(r" spawned: '(?P<program>\w+)' with pid (?P<pid>\d+)$")
_EXITED = re.compile(r" exited: (?P<program>\w+) \((?P<how>.*); (?:not )?expected\)$")


@dataclass(frozen=True, slots=True)
class Exit:
    """A program has ended without being asked to."""

    program: str
    how: str


class Supervisor:
    """The constructor starts it. `lock` becomes its standard input, so that it holds the lock until it ends."""

    def __init__(self, *, data_directory: Path, stop_seconds: int, lock: IO[str]) -> None:
        self.logs = data_directory / "logs"
        self.logs.mkdir(exist_ok=True)
        self._log = self.logs / "supervisord.log"
        self._read_bytes = self._log.stat().st_size if self._log.exists() else 0
        command = [sys.executable, "-m", "supervisor.supervisord", "--configuration", str(CONFIGURATION)]
        if os.geteuid() == 0:
            command += ["--user", "0"]  # Without this it warns that it runs as root.
        with (self.logs / f"{_ERRORS}.log").open("w") as errors:
            self._process = subprocess.Popen(  # noqa: S603
                command,
                env={
                    **os.environ,
                    "QUICKSTART_DATA_DIR": str(data_directory),
                    "QUICKSTART_PYTHON": sys.executable,
                    "QUICKSTART_STOP_SECONDS": str(stop_seconds),
                },
                stdin=lock,
                stdout=errors,
                stderr=errors,
                start_new_session=True,  # The terminal's signals are for the quickstart alone.
            )
        self.pid = self._process.pid
        self.settled: set[str] = set()
        """The programs that have once stayed up for their `startsecs`, as far as `exits` has read."""
        self.restarting: set[str] = set()
        """The programs that got SIGTERM from `restart` and have not ended yet, as far as `exits` has read."""
        self._pids: dict[str, int] = {}

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def exits(self) -> list[Exit]:
        """Return the programs' exits since the last call, without those that `restart` asked for."""
        exits: list[Exit] = []
        for line in self._new_log_lines():
            if match := _SETTLED.search(line):
                self.settled.add(match["program"])
            elif match := _SPAWNED.search(line):
                self._pids[match["program"]] = int(match["pid"])
            elif match := _EXITED.search(line):
                self._pids.pop(match["program"], None)
                if match["program"] in self.restarting:
                    self.restarting.remove(match["program"])
                else:
                    exits.append(Exit(match["program"], match["how"]))
        return exits

    def restart(self, *programs: str) -> None:
        """Send SIGTERM to these programs. Supervisord starts each again after its exit, as after any other exit."""
        for program in set(programs) & self._pids.keys():
            with suppress(ProcessLookupError):
                os.kill(self._pids[program], signal.SIGTERM)
                self.restarting.add(program)

    def _new_log_lines(self) -> list[str]:
        if not self._log.exists():
            return []
        with self._log.open("rb") as log:
            if self._log.stat().st_size < self._read_bytes:  # It was rotated.
                self._read_bytes = 0
            log.seek(self._read_bytes)
            complete, newline, _rest = log.read().rpartition(b"\n")
        self._read_bytes += len(complete) + len(newline)
        return complete.decode(errors="replace").splitlines()

    def stop(self) -> None:
        """Ask for a warm stop of every program, unless supervisord has ended. Call it only once while it runs."""
        if not self.has_ended:
            self._process.send_signal(signal.SIGTERM)

    def last_lines(self, program: str, count: int = 6) -> list[str]:
        """Return the end of a program's log."""
        file = self.logs / f"{program}.log"
        lines = file.read_text(errors="replace").splitlines() if file.exists() else []
        return [line for line in lines if line.strip()][-count:]

    @property
    def own_log(self) -> str:
        """The name of the log that says why the supervisor has ended."""
        return _ERRORS if self.last_lines(_ERRORS) else "supervisord"
