"""Options of rewards and of the sandbox that runs candidates for them."""

from typing import Any, Literal

from pydantic import Field

from diffucoder.config.base import Params


class SandboxParams(Params):
    """How candidates are run.

    Attributes:
        workers: candidates run side by side; null takes one for each available processor.
        tier: `auto` takes the strongest containment this machine offers; `unsafe` runs
            candidates without any.
        memory_mb: address space of a candidate beyond what its interpreter takes, MiB.
        cpu_s: processor time of a candidate, seconds, rounded up to whole ones.
        wall_s: wall clock for loading a candidate, and for each of its tests, seconds.
        max_timeouts: timed-out tests after which a program's rest counts as timed out; null runs
            them all.
    """

    workers: int | None = Field(ge=1)
    tier: Literal[
        "auto", "namespaces+landlock+seccomp", "landlock+seccomp", "namespaces+seccomp", "unsafe"
    ]
    memory_mb: int = Field(ge=64)
    cpu_s: float = Field(gt=0)
    wall_s: float = Field(gt=0)
    max_timeouts: int | None = Field(ge=1)

    def options(self) -> dict[str, Any]:
        """The keyword arguments of `diffucoder.sandbox.Sandbox`."""
        return self.model_dump()


class RewardTerm(Params):
    """One reward.

    Attributes:
        function: import path of a function from a `RewardRecord` to a number.
        weight: what its value is multiplied by.
    """

    function: str = Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")
    weight: float = Field(allow_inf_nan=False)


class RewardParams(Params):
    """The rewards of a run.

    Attributes:
        terms: rewards by the name under which they are logged.
    """

    terms: dict[str, RewardTerm] = Field(min_length=1)
