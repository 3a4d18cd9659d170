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
_HANDED_ON: Final = (signal.SIGTERM, signal.SIGINT)


def supervise(processes: int, work: Callable[[], int]) -> int:
    """Run `work` in that many processes until SIGTERM or SIGINT; the worst exit code.

    The signal is handed on, also a second one. A process that ends without having been asked to is
    replaced.
    """
    children: dict[int, float] = {}
    is_stopping = False
    worst = 0

    def hand_on(number: int, _frame: Any) -> None:
        nonlocal is_stopping
        is_stopping = True
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, number)

    for number in _HANDED_ON:
        signal.signal(number, hand_on)

    def start() -> None:
        children[_fork(work)] = time.monotonic()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDED_ON)

    for _ in range(processes):
        if not is_stopping:
            start()
    while children:
        child, status = os.wait()
        started = children.pop(child, None)
        if started is None:
            continue
        code = os.waitstatus_to_exitcode(status)
        if is_stopping:
            worst = max(worst, abs(code))
            continue
        _LOG.error("worker process %d ended with %d, starting another", child, code)
        time.sleep(max(0.0, _RESTART_PAUSE - (time.monotonic() - started)))
        if not is_stopping:
            start()
    return min(worst, 1)


def _fork(work: Callable[[], int]) -> int:
    """Start a process; signals wait meanwhile, so that none meets half of it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _HANDED_ON)
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        for number in _HANDED_ON:
            signal.signal(number, _end_early)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDED_ON)
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
