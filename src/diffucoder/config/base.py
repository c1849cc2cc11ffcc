"""The base of every parameter model."""

from pydantic import BaseModel, ConfigDict


class Params(BaseModel):
    """Frozen and strict: an unknown key or a value of the wrong type is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
