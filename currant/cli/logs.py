"""How the command line logs: one clear line per record on stderr.

The library itself never sets logging up.
"""

import logging
import sys
import time
import traceback
from types import TracebackType

import click

from currant.cli.terminal import has_colour, one_line
from currant.workflow.logs import ReplayFilter

LEVELS = ("debug", "info", "warning", "error")
_COLOURS = {
    logging.DEBUG: "bright_black",
    logging.WARNING: "yellow",
    logging.ERROR: "red",
    logging.CRITICAL: "red",
}
_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def configure(level: str) -> None:
    """Send the records of the program, the application's own included, to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(is_coloured=has_colour(sys.stderr)))
    handler.addFilter(ReplayFilter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # What asyncio says about its selector helps nobody.
    logging.getLogger("asyncio").setLevel(max(logging.INFO, logging.getLevelName(level.upper())))
    # A reader of stderr that has gone is no reason to print a traceback for every line.
    logging.raiseExceptions = level == "debug"


class LineFormatter(logging.Formatter):
    """Time, level, message; a traceback only below errors that nobody expected."""

    def __init__(self, *, is_coloured: bool) -> None:
        super().__init__()
        self._is_coloured = is_coloured

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, followed by the traceback of an error."""
        message = one_line(record.getMessage())
        if record.name != "currant" and not record.name.startswith("currant."):
            message = f"{record.name}: {message}"
        trace = ""
        if record.exc_info:
            if record.levelno >= logging.ERROR:
                trace = "\n" + self.formatException(record.exc_info).rstrip()
            else:
                message = f"{message} ({self._summary(record.exc_info)})"
        colour = _COLOURS.get(record.levelno) if self._is_coloured else None
        stamp = self._stamp(record)
        if self._is_coloured:
            stamp = click.style(stamp, dim=True)
        level = f"{record.levelname.lower():<8}"
        return f"{stamp} {click.style(level, fg=colour) if colour else level} {message}{trace}"

    @staticmethod
    def _stamp(record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        return f"{seconds}.{int(record.msecs):03}"

    @staticmethod
    def _summary(exc_info: _ExcInfo) -> str:
        return one_line("".join(traceback.format_exception_only(exc_info[1])))
