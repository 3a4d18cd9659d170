"""Keeps replayed code from logging everything once more."""

import logging

from currant.workflow.substitutes import running_loop


class ReplayFilter(logging.Filter):
    """For handlers: lets no record pass that workflow code makes while it replays or is closed.

    Workers put one on all handlers that there are when they start.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        loop = running_loop()
        return loop is None or not loop.is_silent


def silence_replays() -> None:
    """Put a `ReplayFilter` on every handler that loggers have now, unless it has one."""
    loggers = [logging.getLogger(), *logging.getLogger().manager.loggerDict.values()]
    for logger in loggers:
        for handler in getattr(logger, "handlers", ()):  # placeholders have none
            if not any(isinstance(each, ReplayFilter) for each in handler.filters):
                handler.addFilter(ReplayFilter())
