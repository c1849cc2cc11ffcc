"""Options of the generated problems and of problem files."""

from typing import Literal

from pydantic import Field, model_validator

from diffucoder.config.base import Params

Split = Literal["sft", "rl", "validation", "heldout", "eval"]
Family = Literal["lists", "strings", "numbers", "dicts"]


class HardSplitParams(Params):
    """Keep the hard problems, as the released coupled-GRPO recipe does.

    Attributes:
        mean_percentile: keep problems whose mean reference pass rate is at or under this
            percentile, in percent.
        std_percentile: and whose standard deviation is at or over this one, in percent.
    """

    mean_percentile: float = Field(ge=0, le=100)
    std_percentile: float = Field(ge=0, le=100)


class ProblemFileParams(Params):
    """A Parquet or JSONL file of problems in the project's schema.

    Attributes:
        path: the file, absolute or from the project's root.
        split: where its problems go.
        hard: the hard split, or null to keep every problem.
    """

    path: str
    split: Split
    hard: HardSplitParams | None = None


class ProblemsParams(Params):
    """Generated task families and the instruction pairs made from them.

    Attributes:
        families: relative share of each family.
        counts: compositions in each split; no composition is in two splits.
        tests_per_problem: assert statements per problem.
        pairs_per_problem: instruction pairs made from each composition of the `sft` split, each
            with a wording of its own.
        mistake_share: probability that a pair's solution makes the common mistake at a part
            that has one, as scraped solutions do; 0 gives clean data. Problems and their
            references are never flawed.
        files: problem files to add.
        pair_files: Parquet or JSONL files with columns `prompt` and `response` to add.
    """

    families: dict[Family, float]
    counts: dict[Literal["sft", "rl", "validation", "heldout"], int]
    tests_per_problem: int = Field(ge=2)
    pairs_per_problem: int = Field(ge=1)
    mistake_share: float = Field(ge=0, le=1)
    files: list[ProblemFileParams]
    pair_files: list[str]

    @model_validator(mode="after")
    def _something_to_draw(self) -> "ProblemsParams":
        if any(count < 0 for count in self.counts.values()):
            raise ValueError(f"counts must not be negative, got {self.counts}")
        if sum(self.counts.values()) and not any(share > 0 for share in self.families.values()):
            raise ValueError(f"families must give some family a positive share: {self.families}")
        if not self.counts.get("sft") and not self.pair_files:
            raise ValueError(
                "there would be no instruction pairs: set counts.sft above 0, or name files with "
                "columns `prompt` and `response` under pair_files"
            )
        return self
