"""Which rank this process is, according to what started it."""

import re
from collections.abc import Mapping

# Above the ports that systems hand out by themselves there is little room; below are services.
FIRST_PORT, PORTS = 15_000, 10_000


def rank_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables by which ranks find each other, for this process.

    torchrun and DeepSpeed's launcher set them; those of Slurm's `srun` are translated; a process
    that neither started is the only rank.

    Args:
        environment: variables of this process.

    Returns:
        `RANK`, `LOCAL_RANK`, `WORLD_SIZE`, and for more than one rank `MASTER_ADDR` and
        `MASTER_PORT`.
    """
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    if "RANK" in environment:
        return {name: environment[name] for name in names if name in environment}
    if int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        return _from_slurm(environment)
    return {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}


def started_as_rank(environment: Mapping[str, str]) -> str | None:
    """Which of several copies of one command this process is, such as `rank 3 of 8`, if any."""
    here = rank_variables(environment)
    if int(here["WORLD_SIZE"]) > 1:
        return f"rank {here['RANK']} of {here['WORLD_SIZE']}"
    return None


def _from_slurm(environment: Mapping[str, str]) -> dict[str, str]:
    step = int(environment["SLURM_JOB_ID"]) + int(environment["SLURM_STEP_ID"])
    return {
        "RANK": environment["SLURM_PROCID"],
        "LOCAL_RANK": environment["SLURM_LOCALID"],
        "WORLD_SIZE": environment["SLURM_STEP_NUM_TASKS"],
        "MASTER_ADDR": first_host(environment["SLURM_STEP_NODELIST"]),
        # Equal on all ranks, and another one for the next step on the same machines.
        "MASTER_PORT": str(FIRST_PORT + step % PORTS),
    }


def first_host(nodes: str) -> str:
    """First of Slurm's folded host names: `gpu[003-007,9],login` begins with `gpu003`."""
    return re.sub(r"\[(\w+)[^]]*\]", r"\1", nodes).split(",")[0]
