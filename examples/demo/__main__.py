"""The command: options, Ctrl-C, the exit code."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from currant.errors import CurrantError
from examples.demo.display import Display
from examples.demo.processes import default_home
from examples.demo.story import Story


def main() -> int:
    """Run the demonstration; 0 if everything was as it should be."""
    parser = argparse.ArgumentParser(prog="script/demo", description="A shop on Currant.")
    parser.add_argument(
        "--keep", action="store_true", help="leave the server running, to look around in it"
    )
    parser.add_argument(
        "--home",
        type=Path,
        default=default_home(),
        help="where the server's files are (%(default)s)",
    )
    options = parser.parse_args()
    try:
        return asyncio.run(_interruptible(Story(options.home.absolute(), keep=options.keep).run()))
    except asyncio.CancelledError:
        print("stopped", file=sys.stderr)
        return 130
    except (CurrantError, RuntimeError, OSError, TimeoutError) as error:
        Display().plain(f"demo: {error}", "red")
        return 1


async def _interruptible(story: Coroutine[Any, Any, int]) -> int:
    """Let Ctrl-C and SIGTERM alike unwind everything, so that whatever was started is stopped."""
    task = asyncio.create_task(story)

    def stop() -> None:
        # Only once: a second Ctrl-C would interrupt the cleaning up.
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, lambda: None)
        task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    return await task


if __name__ == "__main__":
    sys.exit(main())
