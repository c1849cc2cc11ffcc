"""How an external suite is asked and read; knows pydantic alone, for the configuration."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from diffucoder.config.base import Params
from diffucoder.config.checkpoints import CheckpointName

# A user's turn, or the beginning of a program that the model goes on with.
ModelStyle = Literal["instruct", "completion"]
# Or a program with a hole, as suites of infilling are asked.
Style = ModelStyle | Literal["infilling"]
Extraction = Literal["fenced", "sanitised"]


class SuiteParams(Params):
    """How one external suite is measured.

    Attributes:
        checkpoints: Names of the checkpoints that answer it.
        problems: Number of problems, evenly spaced over the suite; null takes all.
        samples: Sampled completions per problem.
        extraction: How the program is taken out of a completion: `fenced`, the code block of an
            answer; `sanitised`, the longest program in it, cut down to what the entry point
            needs (EvalPlus).
    """

    checkpoints: list[CheckpointName] = Field(min_length=1)
    problems: int | None = Field(ge=1)
    samples: int = Field(ge=1)
    extraction: Extraction


def _known(name: str) -> str:
    # Suites are imported when a name is checked: this module comes before them.
    from diffucoder.evaluation.suites import find_suite

    find_suite(name)
    return name


# A key of `diffucoder.evaluation.suites.SUITES`, or the import path of a suite of the user's own.
SuiteName = Annotated[str, AfterValidator(_known)]
