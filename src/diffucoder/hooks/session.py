"""A Kedro session that leaves no run open, however it ends."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from kedro.framework.session import KedroSession

from diffucoder.tracking.runs import FAILED, KILLED, end_active_runs

# What a shell reports for a process that SIGTERM ended.
TERMINATED = 128 + signal.SIGTERM


class RunClosingSession(KedroSession):
    """Kedro calls no hook when a run is stopped by Ctrl-C or SIGTERM; this marks it KILLED."""

    def run(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run the pipeline; arguments and result are Kedro's."""
        try:
            with _sigterm_raises():
                return super().run(*args, **kwargs)
        except Exception:
            end_active_runs(FAILED)
            raise
        except BaseException:
            end_active_runs(KILLED)
            raise


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Turn SIGTERM into SystemExit, so that clean-up code runs as it does for Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        # Python takes signal handlers from the main thread only.
        yield
        return
    before = signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _exit(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(TERMINATED)
