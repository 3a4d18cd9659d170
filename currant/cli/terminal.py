"""Where output goes: streams that never fail on a character, and what the terminal can do.

Nothing here knows what is printed; render.py lays it out.
"""

import codecs
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

_PLAIN_FORMS = {
    "\N{EM DASH}": "-",
    "\N{HORIZONTAL ELLIPSIS}": "~",
    "\N{RIGHTWARDS ARROW}": ">",
    "\N{BOX DRAWINGS LIGHT HORIZONTAL}": "-",
    "\N{BOX DRAWINGS LIGHT VERTICAL}": "|",
    "\N{BOX DRAWINGS LIGHT VERTICAL AND RIGHT}": "|",
    "\N{BOX DRAWINGS LIGHT UP AND RIGHT}": "`",
}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_BREAKS = re.compile(r"\s*[\r\n]\s*")


def _spell_out(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    # One character for one keeps columns aligned; the rest stays readable as an escape.
    text = error.object[error.start : error.end]
    forms = (_PLAIN_FORMS.get(c) or c.encode("ascii", "backslashreplace").decode() for c in text)
    return "".join(forms), error.end


def prepare_streams() -> None:
    """Make stdout and stderr print every string, whatever the terminal's encoding."""
    codecs.register_error("currant.spell_out", _spell_out)
    # A process may be started with its output closed; Python then has no stream at all.
    sys.stdout = sys.stdout or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="currant.spell_out")


def is_terminal(stream: TextIO) -> bool:
    """Tell whether a person reads the stream."""
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False


def has_colour(stream: TextIO) -> bool:
    """Tell whether the stream is a terminal that shows colour and may be sent it."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") in ("dumb", "unknown", ""):
        return False
    return is_terminal(stream)


def clean(text: str) -> str:
    """Return the text with control characters spelled out: data must not steer a terminal."""
    return _CONTROL.sub(lambda match: repr(match.group())[1:-1], text)


def one_line(text: str) -> str:
    """Return the text on one line, with control characters spelled out."""
    return clean(_BREAKS.sub("; ", text.strip("\r\n")).replace("\t", " ")).rstrip()


@contextmanager
def quiet_pipe() -> Iterator[None]:
    """Keep the interpreter from complaining at exit that the reader of a pipe has gone."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _discard(sys.stdout)
        raise


def _discard(stream: TextIO) -> None:
    try:
        number = stream.fileno()
    except (OSError, ValueError):
        return
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, number)
    os.close(sink)


def line_buffered(stream: TextIO) -> None:
    """Show every line at once, also in a pipe: what tasks print belongs beside the log."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(line_buffering=True)
