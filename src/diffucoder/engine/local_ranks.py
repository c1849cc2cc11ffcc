"""Entry that starts several ranks on this machine: torchrun, with its failures in one line each."""

import signal
import sys

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main


def say_failure(error: ChildFailedError) -> None:
    """Name the rank that failed first; the others end because of it."""
    # Of two that were noticed together, the one that a signal ended is the cause.
    rank, failure = min(
        error.failures.items(), key=lambda item: (item[1].timestamp, item[1].exitcode >= 0)
    )
    code = failure.exitcode
    ended = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    print(f"rank {rank} ended {ended}, so all were ended", flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ChildFailedError as error:
        # Its traceback and report would push the rank's own last lines out of sight.
        say_failure(error)
        sys.exit(1)
