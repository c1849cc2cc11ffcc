"""Options of the diffusion sampler."""

from pydantic import Field, model_validator

from diffucoder.config.base import Params
from diffucoder.decoding.options import Caching, Rule, RuleName, find_rule


class DecodingParams(Params):
    """How a completion is denoised.

    Attributes:
        rule: which masked positions are revealed first: a name in `diffucoder.decoding.rules.RULES`
            or the import path of a `Rule` of your own.
        max_new_tokens: length of the canvas after the prompt, in tokens.
        steps: number of model calls; `max_new_tokens` reveals one token per step, half of it two.
            A canvas of another length is decoded at the same number of tokens per step.
        temperature: temperature of the token distribution; 0 takes the most probable token.
        top_p: nucleus sampling: the smallest set of tokens with at least this probability.
        top_k: number of most probable tokens to choose from; 0 keeps all.
        alg_temp: temperature of the choice of positions; 0 takes the most confident ones.
        eps: time at which the last step ends (Dream: 1e-3). With `steps == max_new_tokens`, 0
            reveals exactly one token per step; above 0 the floor in the rule reveals none at the
            first step and two at the last.
        threshold: for the rule `threshold`: every token of at least this probability is revealed,
            and at least as many as `steps` asks for (Fast-dLLM: 0.9, as many steps as tokens).
        block_length: length of a block, in tokens; blocks are written from left to right, each
            within its share of the steps. null is one block, the whole canvas.
        cache: which keys and values are reused from the last pass over the whole row while a
            block is written: none, those before the block (`prefix`), or those on both sides of
            it (`dual`).
        refresh_every: number of steps after which a block's cache is computed again; 1 makes
            decoding exact, null waits for the next block.
        drop_after_end: whether to stop writing and computing what comes after an end token (or
            filler) that was revealed.
        max_padding: share of padding in a model call above which rows are split by length over
            several calls; 1 never splits.
    """

    rule: RuleName
    max_new_tokens: int = Field(ge=1)
    steps: int = Field(ge=1)
    temperature: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=0)
    alg_temp: float = Field(default=0.0, ge=0)
    eps: float = Field(default=1e-3, ge=0, lt=1)
    threshold: float = Field(default=0.9, gt=0, le=1)
    block_length: int | None = Field(default=None, ge=1)
    cache: Caching = "none"
    refresh_every: int | None = Field(default=None, ge=1)
    drop_after_end: bool = False
    max_padding: float = Field(default=1.0, ge=0, le=1)

    @property
    def rule_record(self) -> Rule:
        """The rule with its traits."""
        return find_rule(self.rule)

    @property
    def random(self) -> bool:
        """Whether a step draws random numbers."""
        return self.temperature > 0 or self.alg_temp > 0 or self.rule_record.draws

    @model_validator(mode="after")
    def _no_idle_steps(self) -> "DecodingParams":
        if self.steps > self.max_new_tokens:
            raise ValueError(
                f"steps ({self.steps}) is more than max_new_tokens ({self.max_new_tokens}): "
                "a step reveals at least one token, so ask for no more steps than tokens"
            )
        return self

    @model_validator(mode="after")
    def _whole_blocks(self) -> "DecodingParams":
        block = self.block_length
        if block is None:
            return self
        if self.max_new_tokens % block or self.steps * block % self.max_new_tokens:
            raise ValueError(
                f"block_length ({block}) must divide max_new_tokens ({self.max_new_tokens}), and "
                f"the number of blocks must divide steps ({self.steps}): every block takes a whole "
                "number of steps"
            )
        return self

    @model_validator(mode="after")
    def _nothing_ignored(self) -> "DecodingParams":
        if self.refresh_every is not None and self.cache == "none":
            raise ValueError(
                f"refresh_every is {self.refresh_every} and cache is none: there is nothing to "
                "refresh, so choose prefix or dual or leave it null"
            )
        # A rule that draws anyway needs no temperature to do so, as in Dream.
        if self.alg_temp > 0 and not (self.rule_record.takes_alg_temp or self.rule_record.draws):
            raise ValueError(
                f"alg_temp is {self.alg_temp} and rule is {self.rule}, which draws no positions: "
                "set alg_temp to 0 or choose a rule that takes it, such as maskgit_plus, "
                "topk_margin or entropy"
            )
        return self
