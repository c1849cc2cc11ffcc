"""Entry of every rank: `python -m diffucoder.engine.worker MODULE job.json`."""

import importlib
import os
import select
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from diffucoder.engine.distributed_env import rank_variables
from diffucoder.engine.launch import EXIT_INTERRUPTED, die_with_parent

if TYPE_CHECKING:
    import torch


def main(module_name: str, job_file: str) -> int:
    """Join the other ranks, do the job, say how it went; returns the exit code.

    Args:
        module_name: import path of a module with `work(job, context)`.
        job_file: path of the job, as `Job.save` wrote it.
    """
    die_with_parent()
    die_with_reader()
    # DeepSpeed asks for them even where the process group is open.
    os.environ.update(rank_variables(os.environ))
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    alone = world_size == 1
    stop_signals: list[int] = []
    if alone:
        # A launcher's SIGTERM means that another rank is dead: no step will end any more.
        signal.signal(signal.SIGTERM, lambda number, _frame: stop_signals.append(number))

    import torch.distributed as dist

    from diffucoder.engine.context import Context, Interrupted
    from diffucoder.engine.job import Job
    from diffucoder.engine.reporter import Reporter
    from diffucoder.errors import DiffucoderError

    try:
        job = Job.load(Path(job_file))
        device = _join(rank, world_size)
        reporter = Reporter(job.work, rank)
        context = Context(job, job.identity(), rank, world_size, device, reporter, stop_signals)
        try:
            importlib.import_module(module_name).work(job, context)
        except Interrupted as interrupted:
            reporter.close()
            if rank == 0:
                print(interrupted, flush=True)
            # Launchers take any other code for a failure, and report it at length.
            return EXIT_INTERRUPTED if alone else 0
        reporter.close()
    except DiffucoderError as error:
        print(f"rank {rank}: {type(error).__name__}: {error}", flush=True)
        return 1
    except BaseException:
        lines = traceback.format_exc().splitlines()
        print("\n".join(f"rank {rank}: {line}" for line in lines), flush=True)
        return 1
    dist.destroy_process_group()
    return 0


def die_with_reader() -> None:
    """End this process when its output can no longer be read.

    The output of ranks goes to their node through pipes, on other machines through ssh. So its
    end reaches ranks whose own parent, a launcher, does not end with the node.
    """
    poll = select.poll()
    # Asks for no event, so it is told of errors alone; a file never has any.
    poll.register(sys.stdout.fileno(), 0)

    def wait() -> None:
        poll.poll()
        os._exit(1)

    threading.Thread(target=wait, name="die_with_reader", daemon=True).start()


def _join(rank: int, world_size: int) -> "torch.device":
    """Open the process group; returns this rank's device."""
    import torch
    import torch.distributed as dist

    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    backend = "nccl" if cuda else "gloo"
    if world_size > 1:
        dist.init_process_group(backend)
    else:
        # A single rank needs no port to meet others at.
        store = dist.HashStore()  # pyright: ignore[reportPrivateImportUsage]
        dist.init_process_group(backend, store=store, rank=rank, world_size=world_size)
    return device


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # All is on disk. The ordinary exit may wait for ranks that are gone, and now and then aborts:
    # Python unwinds threads of C++ that ask for its lock meanwhile, which ends the process.
    os._exit(code)
