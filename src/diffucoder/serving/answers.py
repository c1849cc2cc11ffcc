"""From a client's body to rows of the sampler."""

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from pydantic import ValidationError

from diffucoder.config.decoding import DecodingParams
from diffucoder.data.tokenizer import special_ids
from diffucoder.decoding import Request
from diffucoder.decoding.stops import at_strings
from diffucoder.errors import BadData, BadParameters
from diffucoder.serving.protocol import Body, ChatBody, CompletionBody
from diffucoder.serving.text import Writer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Ask:
    """Rows for one body.

    Attributes:
        rows: the requests, and who reads their text off.
        prompt_tokens: tokens of all prompts, each counted once.
    """

    rows: list[tuple[Request, Writer]]
    prompt_tokens: int


class Reader:
    """Turns bodies into rows.

    Args:
        tokenizer: of the model, with a chat template.
        decoding: the server's options; a body may replace some.
        max_tokens: the longest canvas that may be asked for.

    Raises:
        BadData: for a tokenizer without the special tokens of a diffusion model.
    """

    def __init__(
        self, tokenizer: "PreTrainedTokenizerBase", decoding: DecodingParams, max_tokens: int
    ) -> None:
        self.tokenizer, self.decoding, self.max_tokens = tokenizer, decoding, max_tokens
        self.special = special_ids(tokenizer)

    def chat(self, body: ChatBody) -> Ask:
        """Rows that answer a chat.

        Raises:
            BadData: for a message that holds the text of a special token.
            BadParameters: for options that the sampler refuses.
        """
        for message in body.messages:
            self._check(message.text)
        turns = [{"role": message.role, "content": message.text} for message in body.messages]
        text = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        length = body.max_completion_tokens or body.max_tokens
        return self._ask([text], "", body, length, self.special.turn_end)

    def completion(self, body: CompletionBody) -> Ask:
        """Rows that go on with texts, or fill the hole between a text and its suffix.

        Raises:
            BadData: for a text that holds that of a special token.
            BadParameters: for options that the sampler refuses.
        """
        for text in (*body.prompt, body.suffix or ""):
            self._check(text)
        end = self.special.end_of_text
        return self._ask(body.prompt, body.suffix or "", body, body.max_tokens, end)

    def _ask(
        self, prompts: list[str], suffix: str, body: Body, max_tokens: int | None, end: int
    ) -> Ask:
        length = max_tokens or min(self.decoding.max_new_tokens, self.max_tokens)
        if length > self.max_tokens:
            raise BadParameters(f"max_tokens is {length}: this server writes {self.max_tokens}")
        config = self._config(body)
        canvas = [self.special.mask] * length + self._encode(suffix)
        encoded = [self._encode(prompt) for prompt in prompts]
        # Draws of choices and prompts are apart, and equal for equal seeds.
        seed = secrets.randbits(62) if body.seed is None else body.seed
        seeds = torch.Generator().manual_seed(seed)
        rows = []
        for prompt in encoded:
            for _ in range(body.n):
                draw = int(torch.randint(2**62, (), generator=seeds))
                stop = at_strings(body.stop, self._decode) if body.stop and not suffix else None
                writer = Writer(length, self._decode, (end, self.special.pad), body.stop)
                request = Request(
                    prompt, canvas, config, end, torch.Generator().manual_seed(draw), stop
                )
                rows.append((request, writer))
        return Ask(rows, sum(map(len, encoded)))

    def _config(self, body: Body) -> DecodingParams:
        named = {"temperature": body.temperature, "top_p": body.top_p}
        asked = {name: value for name, value in named.items() if value is not None}
        try:
            return DecodingParams(**(self.decoding.model_dump() | body.decoding | asked))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, ("decoding", *first["loc"])))
            raise BadParameters(f"{place}: {first['msg']}") from error

    def _check(self, text: str) -> None:
        if found := [token for token in self.tokenizer.all_special_tokens if token in text]:
            raise BadData(
                f"the text {text[:60]!r}... holds the special tokens {found}: remove them"
            )

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"] if text else []

    def _decode(self, tokens: list[int]) -> str:
        return self.tokenizer.decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
