"""Watching a drain from another thread.

Workflow code runs to its next wait without giving way. One that does not get there would hold its
thread for ever, so somebody else has to be able to see where it is, and to stop it.
"""

import ctypes
import sys
import threading
import time
import traceback
from types import CodeType

from currant.workflow.loop import Interrupted, is_internal


class Watch:
    """Who is running a workflow's code, since when and where.

    Attributes:
        interrupted: what the code was doing when it was interrupted; None if it was not.
    """

    __slots__ = ("_driver", "_lock", "_since", "_thread", "interrupted")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: int | None = None
        self._driver: CodeType | None = None
        self._since = 0.0
        self.interrupted: str | None = None

    def enter(self) -> None:
        """This thread begins to run the workflow's code, below the function that calls this."""
        self.interrupted = None
        self._driver = sys._getframe(1).f_code
        self._since = time.monotonic()
        self._thread = threading.get_ident()

    def leave(self) -> None:
        """This thread has finished; after this no interruption reaches it. May be repeated."""
        while True:
            try:
                with self._lock:
                    self._thread = None
                    if self.interrupted is not None:
                        _throw_into(threading.get_ident(), None)
                return
            except Interrupted:
                continue

    def running_for(self) -> float:
        """For how many seconds the code has been running without giving way; 0 if it is not."""
        return 0.0 if self._thread is None else time.monotonic() - self._since

    def stack(self) -> str:
        """Where the code is just now, as a traceback of the user's frames.

        Empty if it is not running, or the loop just goes from one piece of it to the next.
        """
        thread = self._thread
        frame = None if thread is None else sys._current_frames().get(thread)
        if frame is None:
            return ""
        found = traceback.StackSummary()
        for each, line in traceback.walk_stack(frame):
            if each.f_code is self._driver:
                break
            if not is_internal(each.f_code.co_filename):
                found[:0] = traceback.StackSummary.extract([(each, line)])
        return "".join(found.format())

    def interrupt(self, stack: str) -> bool:
        """Throw an exception into the code that is running; it ends the drain.

        It takes effect at the next Python instruction: a call that blocks outside Python (such as
        `time.sleep`) has to come back first. Code that catches it can be interrupted again.

        Args:
            stack: where the code is just now.

        Returns:
            Whether any code was running.
        """
        with self._lock:
            if self._thread is None:
                return False
            self.interrupted = stack
            _throw_into(self._thread, Interrupted)
            return True


def _throw_into(thread: int, exception: type[BaseException] | None) -> None:
    argument = None if exception is None else ctypes.py_object(exception)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), argument)
