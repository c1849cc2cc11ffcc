"""Entry that starts several ranks on this machine: torchrun, with its failures in one line each."""

import signal
import sys

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.run import main

# Within these seconds of the first failure torchrun has not yet killed anybody itself.
TOGETHER_S = 10


def say_failure(failures: dict[int, ProcessFailure]) -> None:
    """Name the rank that failed first; the others end because of it.

    torchrun looks at its ranks now and then, and knows the second at most in which they ended. Of
    those that ended together, one that was killed is the cause, since the others may have noticed
    that it was gone; and SIGTERM is how torchrun itself ends those that are left.

    Args:
        failures: by rank.
    """
    first = min(failure.timestamp for failure in failures.values())

    def how_late(rank: int) -> tuple[bool, bool, bool, int]:
        failure = failures[rank]
        return (
            failure.timestamp > first + TOGETHER_S,
            failure.exitcode == -signal.SIGTERM,
            failure.exitcode >= 0,
            failure.timestamp,
        )

    rank = min(failures, key=how_late)
    code = failures[rank].exitcode
    ended = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    print(f"rank {rank} ended {ended}, so all were ended", flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ChildFailedError as error:
        # Its traceback and report would push the rank's own last lines out of sight.
        say_failure(error.failures)
        sys.exit(1)
