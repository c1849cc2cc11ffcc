"""The tokenizer: byte-level BPE with the special tokens of a masked diffusion chat model."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Tokenizer,
)
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from diffucoder.errors import BadData

MASK = "<|mask|>"
END_OF_TEXT = "<|endoftext|>"
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
PAD = "<|dlm_pad|>"
SPECIAL_TOKENS = (END_OF_TEXT, TURN_START, TURN_END, MASK, PAD)

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    f"{TURN_START}{{{{ message['role'] }}}}\n{{{{ message['content'] }}}}{TURN_END}\n"
    "{% endfor %}"
    f"{{% if add_generation_prompt %}}{TURN_START}assistant\n{{% endif %}}"
)

# Pieces within which bytes may be merged: a word with the space before it, one digit, punctuation
# with the space before it, line ends, and a run of spaces without the last, which belongs to the
# next piece. So the indentation of a line is one piece.
PIECES = r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s"

DREAM_CLASS = "DreamTokenizer"

BATCH_CHARS = 2**20


class SpecialIds(NamedTuple):
    """Ids of the special tokens that the stages need.

    Attributes:
        mask: Hides a token.
        end_of_text: Ends a document.
        turn_start: Begins a turn of a chat.
        turn_end: Ends a turn of a chat, and so a completion.
        pad: Fills a canvas after the end of a completion.
    """

    mask: int
    end_of_text: int
    turn_start: int
    turn_end: int
    pad: int


def special_ids(tokenizer: PreTrainedTokenizerBase) -> SpecialIds:
    """Look up the special tokens.

    Args:
        tokenizer: The model's tokenizer.

    Returns:
        Their ids.

    Raises:
        BadData: If the tokenizer lacks one; the message names it.
    """
    vocabulary = tokenizer.get_vocab()
    missing = [token for token in SPECIAL_TOKENS if token not in vocabulary]
    if missing:
        raise BadData(
            f"tokenizer {tokenizer.name_or_path or 'without a name'}: it lacks {missing}; load "
            "it through `ingestion.tokenizer.load`, which adds what is missing"
        )
    return SpecialIds(
        mask=vocabulary[MASK],
        end_of_text=vocabulary[END_OF_TEXT],
        turn_start=vocabulary[TURN_START],
        turn_end=vocabulary[TURN_END],
        pad=vocabulary[PAD],
    )


def train(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerBase:
    """Learn a byte-level BPE vocabulary.

    Any text survives encoding and decoding unchanged; digits are single tokens.

    Args:
        texts: Texts to learn merges from; read once.
        vocabulary: Size of the vocabulary, special tokens and the 256 bytes included. It will be
            smaller if the texts have too few pairs to merge.

    Returns:
        A tokenizer with the special tokens and a chat template.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return complete(
        PreTrainedTokenizerFast(tokenizer_object=bpe, clean_up_tokenization_spaces=False)
    )


def complete(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Give a tokenizer the special tokens, their roles and a chat template if it lacks them.

    Args:
        tokenizer: Any tokenizer; it is changed in place.

    Returns:
        The same tokenizer.
    """
    tokenizer.add_special_tokens(
        {
            "eos_token": END_OF_TEXT,
            "pad_token": PAD,
            "mask_token": MASK,
            "extra_special_tokens": [TURN_START, TURN_END],
        },
        replace_extra_special_tokens=False,
    )
    if not tokenizer.chat_template:
        tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def open_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """Load a tokenizer unchanged; code that comes with it is not run.

    The tokenizer of Dream and DiffuCoder is Qwen2's under a class of its own.

    Args:
        path: A directory, or a name on the Hugging Face hub.

    Returns:
        The tokenizer.

    Raises:
        BadData: If it cannot be loaded.
    """
    try:
        if get_tokenizer_config(str(path)).get("tokenizer_class") == DREAM_CLASS:
            return Qwen2Tokenizer.from_pretrained(str(path))
        return AutoTokenizer.from_pretrained(str(path), trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise BadData(
            f"tokenizer {path}: cannot be loaded ({error}); give a directory or hub name with "
            "a tokenizer.json or a vocabulary that transformers can read"
        ) from error


def encode_texts(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> Iterator[list[int]]:
    """Encode texts batch by batch.

    Args:
        tokenizer: The model's tokenizer.
        texts: Texts; the name of a special token in them is encoded as plain text.

    Yields:
        The tokens of each text.
    """
    for batch in _batches(texts):
        yield from tokenizer(
            batch,
            add_special_tokens=False,
            split_special_tokens=True,
            return_attention_mask=False,
            verbose=False,
        )["input_ids"]


def encode_chat(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Encode one user turn up to where the assistant's answer begins.

    Args:
        tokenizer: The model's tokenizer, with a chat template.
        prompt: The user's message.

    Returns:
        The tokens.

    Raises:
        BadData: If the prompt holds the text of a special token, which would end the turn.
    """
    return encode_messages(tokenizer, [{"role": "user", "content": prompt}])


def encode_messages(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]]
) -> list[int]:
    """Encode a conversation up to where the assistant's next answer begins.

    Args:
        tokenizer: The model's tokenizer, with a chat template.
        messages: Mappings with `role` and `content`.

    Returns:
        The tokens.

    Raises:
        BadData: If a message holds the text of a special token, which would end the turn.
    """
    for message in messages:
        prompt = message["role"] + message["content"]
        if special := [token for token in tokenizer.all_special_tokens if token in prompt]:
            raise BadData(
                f"the prompt {message['content'][:60]!r}... holds the special tokens {special}; "
                "remove them"
            )
    conversation = [dict(message) for message in messages]
    text = tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
    # `tokenize=False` makes it a text, which its annotation does not tell.
    assert isinstance(text, str)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def token_texts(tokenizer: PreTrainedTokenizerBase) -> Callable[[int], str]:
    """Make a function that decodes single tokens.

    Args:
        tokenizer: The model's tokenizer.

    Returns:
        A function from a token to its text; special tokens have their names.
    """

    @cache
    def text_of(token: int) -> str:
        text = tokenizer.decode([token], clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        return text

    return text_of


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch, chars = [], 0
    for text in texts:
        batch.append(text)
        chars += len(text)
        if chars >= BATCH_CHARS:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch
