"""Log lines: one event a line, whatever a caller sent."""

import logging
import re

import pytest

from drivebay import log


@pytest.fixture
def logger():
    """Log as the service does, and as before when the test is over."""
    root = logging.getLogger()
    handlers, level, raises = root.handlers[:], root.level, logging.raiseExceptions
    yield logging.getLogger("drivebay.test")
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.raiseExceptions = raises


def test_a_line_tells_time_level_place_and_event(logger, capsys):
    log.start("info")
    logger.warning("drive %s is %s", "web", "größe")

    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ WARNING drivebay\.test drive web is größe", line
    )


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "a\x1b[31mb", "a\x00b", "a\u2028b", "a\x85b"])
def test_nothing_that_a_caller_sent_breaks_a_line(logger, capsys, text):
    log.start("info")
    logger.error("name %s", text)

    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert printed.rstrip("\n").isprintable()
    assert "a" + text[1:-1].encode("unicode_escape").decode() + "b" in printed


def test_a_traceback_keeps_its_lines_and_the_message_stays_on_one(logger, capsys):
    log.start("info")
    try:
        raise ValueError("broken")
    except ValueError:
        logger.exception("while\nworking")

    first, *rest = capsys.readouterr().err.splitlines()
    assert first.endswith("while\\nworking")
    assert rest[0] == "Traceback (most recent call last):"
    assert rest[-1] == "ValueError: broken"


@pytest.mark.parametrize(
    ("level", "shown"),
    [("debug", "abcd"), ("info", "bcd"), ("warning", "cd"), ("error", "d")],
)
def test_what_is_below_the_level_is_not_told(logger, capsys, level, shown):
    log.start(level)
    logger.debug("a")
    logger.info("b")
    logger.warning("c")
    logger.error("d")

    assert "".join(line[-1] for line in capsys.readouterr().err.splitlines()) == shown
