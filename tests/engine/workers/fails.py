"""Fails in the way that its job asks for."""

import os
import signal

from diffucoder.engine.context import Context
from diffucoder.engine.job import Job
from diffucoder.errors import BadData


def work(job: Job, context: Context) -> None:
    match job.parameters["fault"]:
        case "bad data":
            raise BadData("shard 3 is damaged")
        case "defect":
            print(f"[rank {context.rank}] about to divide")
            raise ZeroDivisionError("by nothing")
        case "killed":
            if context.rank == 1:
                print("last words of rank 1", flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            # Waits for the dead rank, as a collective on a GPU would.
            signal.pause()
