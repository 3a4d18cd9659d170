"""Leaves no server, broker or worker behind when the benchmark is killed."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_SET_PARENT_DEATH_SIGNAL = 1


def end_with_parent() -> None:
    """In a new child: be ended when the parent ends, and not by a Ctrl-C that is meant for it."""
    os.setsid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGINT)
