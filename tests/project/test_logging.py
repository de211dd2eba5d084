"""How a log line looks: the fields of the job that runs, and colours where somebody sees them."""

import io
import json
import logging
import logging.config
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from project.logging import DIM, RED, RESET, has_colours, logging_settings
from tests.support.processes import environment
from tests.support.terminal import on_terminal
from webhooks.running_job import running

FIELDS = {"delivery": 3, "job": 7, "handler": "acme.greet", "attempt": 1, "trace_id": "0af7651916cd43dd"}
LOGGING_ONE_LINE = """
import logging.config, os, django
os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"
django.setup()
logging.getLogger("acme").error("no good")
"""


@contextmanager
def log_in(style: str, *, is_coloured: bool = False) -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger with Hookline's handler, and what that has written."""
    settings = logging_settings(style=style, level="INFO", is_coloured=is_coloured)
    configurator, given = logging.config.DictConfigurator(settings), settings["handlers"]["stderr"]
    handler = logging.StreamHandler(written := io.StringIO())
    handler.setFormatter(configurator.configure_formatter(settings["formatters"][given["formatter"]]))
    for name in given["filters"]:
        handler.addFilter(configurator.configure_filter(settings["filters"][name]))
    logger = logging.getLogger("acme")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield logger, written
    finally:
        logger.removeHandler(handler)


def test_a_line_has_the_fields_of_the_job_that_runs_and_of_none_before_and_after() -> None:
    with log_in("json") as (logger, written):
        logger.info("before")
        with running(FIELDS):
            logger.info("meanwhile", extra={"page": 2})
        logger.info("after")
    before, meanwhile, after = map(json.loads, written.getvalue().splitlines())
    assert meanwhile.items() >= {**FIELDS, "page": 2, "message": "meanwhile"}.items()
    assert not FIELDS.keys() & (before.keys() | after.keys())


def test_what_a_handler_names_as_we_do_is_kept_beside_ours() -> None:
    with log_in("json") as (logger, written), running(FIELDS):
        logger.info("built", extra={"job": "nightly", "attempt": 1})
    line = json.loads(written.getvalue())
    assert (line["job"], line["own_job"], line["attempt"]) == (7, "nightly", 1)
    assert "own_attempt" not in line


def test_the_fields_of_a_job_end_with_a_run_that_raises() -> None:
    with log_in("text") as (logger, written):
        with pytest.raises(ValueError, match="no good"), running(FIELDS):
            raise ValueError("no good")
        logger.info("after")
    assert written.getvalue().endswith("INFO    acme: after\n")


def test_text_has_its_fields_at_the_lines_end_and_the_traceback_after_it() -> None:
    with log_in("text") as (logger, written), running(FIELDS):
        try:
            raise ValueError("no good")
        except ValueError:
            logger.exception("failed")
    first, *rest = written.getvalue().splitlines()
    assert first.endswith(f"ERROR   acme: failed  {' '.join(f'{name}={value}' for name, value in FIELDS.items())}")
    assert (rest[0], rest[-1]) == ("Traceback (most recent call last):", "ValueError: no good")


def test_colours_change_nothing_but_the_look() -> None:
    with log_in("text") as (logger, plain), running(FIELDS):
        logger.error("failed at %s", "two")
    with log_in("text", is_coloured=True) as (logger, coloured), running(FIELDS):
        logger.error("failed at %s", "two")
    assert f"{RED}ERROR  {RESET}" in coloured.getvalue()
    assert f"{DIM}delivery=3" in coloured.getvalue()
    without_colours = re.sub(r"\x1b\[[0-9;]*m", "", coloured.getvalue())
    assert without_colours.partition(" ERROR")[2] == plain.getvalue().partition(" ERROR")[2] != ""


def test_json_is_never_coloured() -> None:
    with log_in("json", is_coloured=True) as (logger, written):
        logger.error("failed")
    assert "\x1b" not in written.getvalue()


@pytest.mark.parametrize(
    ("variables", "is_coloured"),
    [({}, True), ({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False), ({"HOOKLINE_LOG_FORMAT": "json"}, False)],
)
def test_a_terminal_has_colours_unless_they_are_refused(
    tmp_path: object, variables: dict[str, str], is_coloured: bool
) -> None:
    own = environment(HOOKLINE_DATA_DIR=tmp_path)
    own.pop("NO_COLOR", None)
    with on_terminal([sys.executable, "-c", LOGGING_ONE_LINE], own | variables) as terminal:
        assert terminal.exit_status() == 0
    assert "no good" in terminal.output
    assert ("\x1b[" in terminal.output) is is_coloured


def test_a_file_or_no_standard_error_at_all_has_no_colours() -> None:
    assert not has_colours(io.StringIO(), {})
    assert not has_colours(None, {})
