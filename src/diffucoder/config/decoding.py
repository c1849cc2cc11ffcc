"""Options of the diffusion sampler."""

from typing import Literal

from pydantic import Field, model_validator

from diffucoder.config.base import Params

Rule = Literal["origin", "maskgit_plus", "topk_margin", "entropy"]


class DecodingParams(Params):
    """How a completion is denoised.

    Attributes:
        rule: which masked positions are revealed first.
        max_new_tokens: length of the canvas after the prompt, in tokens.
        steps: model calls; `max_new_tokens` reveals one token a step, half of it two.
        temperature: of the token distribution; 0 takes the most probable token.
        top_p: nucleus: the smallest set of tokens with at least this probability.
        top_k: keep the k most probable tokens; 0 keeps all.
        alg_temp: temperature of the choice of positions; 0 takes the most confident.
        eps: time at which the last step ends (Dream: 1e-3). With `steps == max_new_tokens`, 0
            reveals exactly one token a step; above 0 the floor in the rule reveals none at the
            first step and two at the last.
    """

    rule: Rule
    max_new_tokens: int = Field(ge=1)
    steps: int = Field(ge=1)
    temperature: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=0)
    alg_temp: float = Field(default=0.0, ge=0)
    eps: float = Field(default=1e-3, ge=0, lt=1)

    @model_validator(mode="after")
    def _no_idle_steps(self) -> "DecodingParams":
        if self.steps > self.max_new_tokens:
            raise ValueError(
                f"steps ({self.steps}) is more than max_new_tokens ({self.max_new_tokens}): "
                "a step reveals at least one token, so ask for no more steps than tokens"
            )
        return self
