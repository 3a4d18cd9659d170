"""What a run comes to when its function is left by an exception."""

import asyncio
import json

from currant.errors import ContinueAsNew
from currant.failures import describe, leaves, storable
from currant.workflow.intents import End, Site
from currant.workflow.loop import is_internal


def completed(result: str) -> End:
    """The function returned a result, which is JSON text."""
    return End("complete", f'{{"result":{result}}}')


def after(error: BaseException, cancel_reason: str | None, signals: str) -> End:
    """The function raised.

    Args:
        cancel_reason: why the run was to be cancelled; None if nobody asked.
        signals: those that nobody has read, as JSON text; a new run takes them over.
    """
    site = _site(error)
    new = continuation(error)
    if new is not None:
        outcome = f'{{"args":{new.arguments},"signals":{signals}}}'
        return End("continue_as_new", outcome, site=site)
    # Several, where `except*` of a request to cancel raises it again.
    is_cancellation = all(isinstance(each, asyncio.CancelledError) for each in leaves(error))
    if is_cancellation and cancel_reason is not None:
        cancelled = {"type": "Cancelled", "message": storable(cancel_reason)}
        return End("cancelled", json.dumps({"error": cancelled}), cancel_reason, site)
    described = describe(error, retryable=False)
    reason = f"{described['type']}: {described['message']}"
    return End("fail", json.dumps({"error": described}), reason, site)


def continuation(error: BaseException) -> ContinueAsNew | None:
    """The request to go on as a new run, also if it comes out of a task group with nothing else."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error if isinstance(error, ContinueAsNew) else None


def _site(error: BaseException) -> Site | None:
    """Where in the user's code it was raised, or passed last on its way there."""
    site = None
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not is_internal(file):
            site = file, trace.tb_lineno
        trace = trace.tb_next
    return site
