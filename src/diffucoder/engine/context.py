"""What a rank knows: its number, its generators, where its metrics go."""

import hashlib
import json
import os
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist

from diffucoder.engine.job import Job
from diffucoder.engine.launch import STOP_FILE
from diffucoder.engine.reporter import Reporter


class Interrupted(Exception):
    """A stage was asked to stop, and has saved what it did."""


def sum_over_ranks(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Elementwise sum over the ranks, computed on `device`; a float64 tensor on the CPU.

    Args:
        values: this rank's values.
        device: where the sum is computed.
    """
    total = values.detach().to(device, torch.float64)
    if dist.get_world_size() > 1:
        dist.all_reduce(total)
    return total.cpu()


@dataclass(frozen=True)
class Context:
    """A rank's view of its stage.

    Attributes:
        job: what is to be done.
        identity: `Job.identity` as it was when the work began.
        rank: number of this process, 0 to `world_size` - 1.
        world_size: processes that work together.
        device: where this rank computes.
        reporter: takes metrics; `reporter.log(step, {name: value})` is the same on every rank.
        stop_signals: signals that this process got and that ask it to stop.
    """

    job: Job
    identity: dict[str, Any]
    rank: int
    world_size: int
    device: torch.device
    reporter: Reporter
    stop_signals: list[int] = field(default_factory=list)

    def generator(self, *keys: int) -> torch.Generator:
        """A CPU generator that depends on the job's seed, its stage and `keys` alone.

        Named by what is drawn (step, global row number, ...), not by how often something was
        drawn before, draws are the same on any number of ranks and after a resume; and CPU
        draws are the same on any device.
        """
        name = json.dumps([self.job.seed, self.job.stage, *keys]).encode()
        number = int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big")
        return torch.Generator().manual_seed(number)

    def sums(self, values: torch.Tensor) -> torch.Tensor:
        """Elementwise sum of `values` over the ranks; a float64 tensor on the CPU."""
        return sum_over_ranks(values, self.device)

    def gather(self, item: Any) -> list[Any]:
        """The `item` of every rank, in their order, on every rank; items are pickled."""
        if self.world_size == 1:
            return [item]
        items: list[Any] = [None] * self.world_size
        dist.all_gather_object(items, item)
        return items

    def broadcast(self, item: Any) -> Any:
        """Rank 0's `item`, on every rank; it is pickled."""
        if self.world_size == 1:
            return item
        box = [item]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.world_size > 1:
            dist.barrier()

    def share(self, count: int) -> slice:
        """This rank's part of `count` things in equal consecutive parts.

        Raises:
            ValueError: if `count` is not a multiple of the number of ranks.
        """
        if count % self.world_size:
            raise ValueError(
                f"{self.job.stage}: {count} rows cannot be shared equally by {self.world_size} "
                "ranks; choose a multiple"
            )
        part = count // self.world_size
        return slice(self.rank * part, (self.rank + 1) * part)

    def stop_requested(self) -> bool:
        """Whether the node, or a signal to this process, asks to end after this step.

        The node asks by a file: it reaches the ranks of any launcher, and no launcher takes it
        for a reason to kill them.
        """
        return bool(self.stop_signals) or os.path.exists(self.job.work / STOP_FILE)
