"""Keeps replayed code from logging everything once more."""

import logging

from currant.workflow.substitutes import running_loop


class ReplayFilter(logging.Filter):
    """For handlers: lets no record pass that workflow code makes while it replays or is closed."""

    def filter(self, record: logging.LogRecord) -> bool:
        loop = running_loop()
        return loop is None or not loop.is_silent
