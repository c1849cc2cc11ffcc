"""What parameters may name of decoding. Knows pydantic and no torch."""

from typing import Annotated, Literal

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from diffucoder.decoding.rules import Rule, find_rule
from diffucoder.errors import BadParameters

__all__ = ["Caching", "Rule", "RuleName", "find_rule"]

Caching = Literal["none", "prefix", "dual"]


def _known(name: str) -> str:
    try:
        find_rule(name)
    except BadParameters as error:
        raise PydanticCustomError("decoding_rule", "{reason}", {"reason": str(error)}) from error
    return name


# The name of a rule in `diffucoder.decoding.rules.RULES`, or the import path of one's own.
RuleName = Annotated[str, AfterValidator(_known)]
