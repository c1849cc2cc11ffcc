"""Loading checkpoint directories.

Three layouts load: stock Hugging Face Qwen2, Qwen3 and Llama directories, the ones that this
project writes (stock as well, with `is_causal` in their config), and those of Dream and
DiffuCoder, whose weights are Qwen2's under a config of their own.
"""

import json
import re
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from diffucoder.data.tokenizer import open_tokenizer
from diffucoder.errors import BadCheckpoint, BadData
from diffucoder.model.create import train_pad_embedding

STOCK_TYPES = ("qwen2", "qwen3", "llama")
DREAM_TYPE = "Dream"
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "tokenizer.model")
WANTED_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def load(path: str | Path, **kwargs: Any) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model and its tokenizer from a directory or the Hugging Face hub.

    `model(input_ids, attention_mask=None, position_ids=None).logits` are the stock model's,
    un-shifted. No code from the checkpoint is run.

    Args:
        path: a checkpoint directory, or a hub name such as `Qwen/Qwen2.5-Coder-0.5B`.
        **kwargs: passed on to `from_pretrained`, such as `dtype` or `device_map`.

    Returns:
        The model in evaluation mode, and its tokenizer.

    Raises:
        BadCheckpoint: if the directory is missing or half written, its weights do not fit its
            config, it has no tokenizer, or its model type is none of the known ones.
    """
    folder = _local(path)
    config = _config(folder)
    _check_weights(folder)
    _check_tokenizer_files(folder)
    model, tokenizer = _model(folder, config, kwargs), load_tokenizer(folder)
    rows, tokens = model.get_input_embeddings().num_embeddings, len(tokenizer)
    if tokens > rows:
        raise BadCheckpoint(
            f"{folder}: its tokenizer has {tokens} tokens and its embedding {rows} rows: they are "
            "not of one model"
        )
    return model, tokenizer


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint directory or of a tokenizer's own directory.

    Raises:
        BadCheckpoint: if there is none, or its files cannot be read.
    """
    folder = Path(folder)
    _check_tokenizer_files(folder)
    try:
        return open_tokenizer(folder)
    except BadData as error:
        raise BadCheckpoint(f"{folder}: its tokenizer cannot be read: {error}") from error


def _local(path: str | Path) -> Path:
    folder = Path(path)
    if folder.is_dir():
        return folder
    if not HUB_NAME.fullmatch(str(path)):
        raise BadCheckpoint(
            f"{path}: no such directory: give a checkpoint directory or a hub name (owner/name)"
        )
    try:
        return Path(snapshot_download(str(path), allow_patterns=WANTED_FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise BadCheckpoint(
            f"{path}: neither a directory here nor a checkpoint that the hub would give: "
            f"check the name and the network ({type(error).__name__})"
        ) from error


def _read_json(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadCheckpoint(
            f"{file.parent}: has no {file.name}, so it is not a checkpoint or was not written "
            "to the end: copy it again or make it again"
        ) from error
    except ValueError as error:
        raise BadCheckpoint(f"{file}: not valid JSON, perhaps cut short: {error}") from error


def _config(folder: Path) -> PretrainedConfig:
    values = _read_json(folder / "config.json")
    model_type = values.pop("model_type", None)
    # auto_map points at code in the checkpoint, which is never run.
    for key in ("auto_map", "architectures"):
        values.pop(key, None)
    if model_type == DREAM_TYPE:
        return AutoConfig.for_model("qwen2", **values | {"is_causal": False})
    if model_type in STOCK_TYPES:
        return AutoConfig.for_model(model_type, **values)
    raise BadCheckpoint(
        f"{folder}: model type {model_type!r} is not known: expected one of "
        f"{', '.join((*STOCK_TYPES, DREAM_TYPE))}"
    )


def _check_weights(folder: Path) -> None:
    if (folder / INDEX).is_file():
        names = sorted(set(_read_json(folder / INDEX).get("weight_map", {}).values()))
    else:
        names = [SINGLE]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing or not names:
        raise BadCheckpoint(
            f"{folder}: weights are missing ({', '.join(missing) or 'an empty index'}): the "
            "directory was not written to the end, or is not in safetensors format"
        )
    for name in names:
        try:
            with safe_open(folder / name, framework="pt"):
                pass
        except SafetensorError as error:
            raise BadCheckpoint(
                f"{folder / name}: not a whole safetensors file, perhaps cut short ({error}): "
                "copy it again or make it again"
            ) from error


def _check_tokenizer_files(folder: Path) -> None:
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise BadCheckpoint(
            f"{folder}: has no tokenizer (none of {', '.join(TOKENIZER_FILES)}): save one "
            "beside the weights"
        )


def _model(folder: Path, config: PretrainedConfig, kwargs: dict[str, Any]) -> PreTrainedModel:
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder, config=config, trust_remote_code=False, output_loading_info=True, **kwargs
        )
    except RuntimeError as error:
        raise BadCheckpoint(f"{folder}: its weights do not fit its config: {error}") from error
    if report["missing_keys"]:
        absent = sorted(report["missing_keys"])
        raise BadCheckpoint(
            f"{folder}: {len(absent)} weights that its config asks for are absent, first "
            f"{absent[0]}: the checkpoint is incomplete"
        )
    train_pad_embedding(model)
    return model
