"""Parameters of the backbone: an autoregressive checkpoint, taken over or trained here."""

from pydantic import Field, model_validator

from diffucoder.config.base import Params
from diffucoder.config.training import TrainingParams


class ArchitectureParams(Params):
    """Size of a Qwen2-shaped model.

    Attributes:
        hidden_size: width of the residual stream.
        intermediate_size: width of the gated feed-forward layer.
        layers: number of transformer blocks.
        heads: query heads of a block.
        key_value_heads: key and value heads of a block, shared by groups of query heads.
        max_positions: longest row that the config promises, in tokens.
        rope_theta: base of the rotary embedding.
        tied_embeddings: whether the output head is the input embedding.
        initializer_range: standard deviation of the first weights.
    """

    hidden_size: int = Field(ge=2)
    intermediate_size: int = Field(ge=1)
    layers: int = Field(ge=1)
    heads: int = Field(ge=1)
    key_value_heads: int = Field(ge=1)
    max_positions: int = Field(ge=1)
    rope_theta: float = Field(gt=0)
    tied_embeddings: bool
    initializer_range: float = Field(gt=0)

    @model_validator(mode="after")
    def _heads_divide(self) -> "ArchitectureParams":
        if self.hidden_size % (2 * self.heads):
            raise ValueError(
                f"hidden_size ({self.hidden_size}) must be a multiple of twice the heads "
                f"({self.heads}): rotary embeddings turn pairs of a head's channels"
            )
        if self.heads % self.key_value_heads:
            raise ValueError(
                f"heads ({self.heads}) must be a multiple of key_value_heads "
                f"({self.key_value_heads})"
            )
        return self


class BackboneParams(Params):
    """Where the autoregressive model comes from.

    Attributes:
        source: a checkpoint directory or hub name to take over; None trains a new model.
        architecture: size of the new model.
        training: how it is trained.
        work: folder for saves and logs of the run.
    """

    source: str | None
    architecture: ArchitectureParams
    training: TrainingParams
    work: str
