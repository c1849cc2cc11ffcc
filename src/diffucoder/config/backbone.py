"""Parameters of the backbone: an autoregressive checkpoint, taken over or trained here."""

from pydantic import Field, model_validator

from diffucoder.config.base import Params
from diffucoder.config.training import TrainingParams


class ArchitectureParams(Params):
    """Size of a Qwen2-shaped model.

    Attributes:
        hidden_size: width of the residual stream.
        intermediate_size: width of the gated feed-forward layer.
        num_hidden_layers: number of transformer blocks.
        num_attention_heads: query heads of a block.
        num_key_value_heads: key and value heads of a block, shared by groups of query heads.
        max_position_embeddings: longest row that the config promises, in tokens.
        rope_theta: base of the rotary embedding.
        tie_word_embeddings: whether the output head is the input embedding.
        initializer_range: standard deviation of the first weights.
    """

    hidden_size: int = Field(ge=2)
    intermediate_size: int = Field(ge=1)
    num_hidden_layers: int = Field(ge=1)
    num_attention_heads: int = Field(ge=1)
    num_key_value_heads: int = Field(ge=1)
    max_position_embeddings: int = Field(ge=1)
    rope_theta: float = Field(gt=0)
    tie_word_embeddings: bool
    initializer_range: float = Field(gt=0)

    @model_validator(mode="after")
    def _heads_divide(self) -> "ArchitectureParams":
        if self.hidden_size % (2 * self.num_attention_heads):
            raise ValueError(
                f"hidden_size ({self.hidden_size}) must be a multiple of twice the heads "
                f"({self.num_attention_heads}): rotary embeddings turn pairs of a head's channels"
            )
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads ({self.num_attention_heads}) must be a multiple of "
                f"num_key_value_heads ({self.num_key_value_heads})"
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
