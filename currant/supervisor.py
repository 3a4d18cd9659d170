"""Several worker processes under one: forked, replaced when they die, stopped together."""

import logging
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

_LOG = logging.getLogger("currant")

# A process that dies sooner than this is started again only after as long.
_RESTART_PAUSE: Final = 1.0
_STOP: Final = (signal.SIGTERM, signal.SIGINT)
# Taken one by one with sigwait. A handler would not do: Python runs it between two bytecodes, and a
# signal that comes just before a wait would be seen only after it.
_AWAITED: Final = (*_STOP, signal.SIGCHLD)


def supervise(processes: int, work: Callable[[], int]) -> int:
    """Run `work` in that many processes until SIGTERM or SIGINT; the worst exit code.

    Either is handed on as SIGTERM, also a second one. Ctrl-C reaches the whole process group, so
    the children ignore it: one press asks them once. A process that ends without having been asked
    to is replaced.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
    # Ignored by default, which some systems do not wake a waiter for.
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: dict[int, float] = {}
    is_stopping = False
    worst = 0
    for _ in range(processes):
        children[_fork(work)] = time.monotonic()
    while children:
        received = signal.sigwait(_AWAITED)
        if received in _STOP:
            is_stopping = True
            _hand_on(children)
            continue
        for child, code in _ended():
            started = children.pop(child, None)
            if started is None:
                continue
            if is_stopping:
                worst = max(worst, abs(code))
                continue
            _LOG.error("worker process %d ended with %d, starting another", child, code)
            pause = _RESTART_PAUSE - (time.monotonic() - started)
            if pause > 0 and signal.sigtimedwait(_STOP, pause) is not None:
                is_stopping = True
                _hand_on(children)
            else:
                children[_fork(work)] = time.monotonic()
    return min(worst, 1)


def _hand_on(children: dict[int, float]) -> None:
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)


def _ended() -> list[tuple[int, int]]:
    """Process and exit code of every child that has ended."""
    ended = []
    with suppress(ChildProcessError):
        while True:
            child, status = os.waitpid(-1, os.WNOHANG)
            if child == 0:
                break
            ended.append((child, os.waitstatus_to_exitcode(status)))
    return ended


def _fork(work: Callable[[], int]) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, _end_early)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _AWAITED)
        code = work()
    except SystemExit:
        code = 0
    except BaseException:
        _LOG.exception("the worker failed")
    finally:
        logging.shutdown()
        os._exit(code)


def _end_early(_number: int, _frame: Any) -> None:
    # Until the worker has its own handler, there is nothing to finish.
    raise SystemExit
