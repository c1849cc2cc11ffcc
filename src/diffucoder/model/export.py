"""Writing a checkpoint in the layout of Dream and DiffuCoder, for tools that expect it.

    kedro export data/06_models/grpo path/to/dream

Dream's weights are Qwen2's, name for name, with a head of their own; its config has a type of its
own and says where its modelling code is. That code is not part of what is written: `auto_map`
points at the repository that published it, and a tool that is told to trust it fetches it there.
"""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import save_torch_state_dict
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from diffucoder.errors import BadCheckpoint
from diffucoder.model.load import DREAM_TYPE, load

CODE = "Dream-org/Dream-v0-Base-7B"
SHARED_KEYS = (
    "attention_dropout",
    "hidden_act",
    "hidden_size",
    "initializer_range",
    "intermediate_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "rms_norm_eps",
    "use_cache",
    "vocab_size",
)


def export_dream(source: str | Path, folder: Path) -> None:
    """Write the checkpoint `source` into the empty directory `folder` in Dream's layout.

    Weights keep their precision. A tied head becomes one of its own, since Dream's code and what
    was built on it look for one.

    Args:
        source: what `diffucoder.model.load` takes.
        folder: an existing directory.

    Raises:
        BadCheckpoint: if `source` cannot be loaded, is autoregressive, is no Qwen2-shaped model,
            or has no mask token.
    """
    model, tokenizer = load(source, dtype="auto")
    _check(source, model, tokenizer)
    weights = model.state_dict()
    weights["lm_head.weight"] = weights["lm_head.weight"].clone()
    save_torch_state_dict(weights, folder)
    tokens = {
        f"{role}_token_id": getattr(tokenizer, f"{role}_token_id")
        for role in ("bos", "eos", "pad", "mask")
    }
    _write(folder / "config.json", dream_config(model) | tokens)
    _write(folder / "generation_config.json", tokens)
    tokenizer.save_pretrained(folder)
    _write(folder / "tokenizer_config.json", tokenizer_settings(folder, tokenizer.chat_template))


def dream_config(model: PreTrainedModel) -> dict[str, Any]:
    """Dream's config for a Qwen2 model, but for the ids of special tokens."""
    config = model.config.to_dict()
    rope = dict(config["rope_parameters"])
    theta = rope.pop("rope_theta")
    return {key: config[key] for key in SHARED_KEYS} | {
        "model_type": DREAM_TYPE,
        "architectures": ["DreamModel"],
        "auto_map": {
            "AutoConfig": f"{CODE}--configuration_dream.DreamConfig",
            "AutoModel": f"{CODE}--modeling_dream.DreamModel",
        },
        "rope_theta": theta,
        "rope_scaling": None if rope["rope_type"] == "default" else rope,
        "tie_word_embeddings": False,
        "torch_dtype": str(model.dtype).removeprefix("torch."),
        "use_sliding_window": False,
    }


def tokenizer_settings(folder: Path, chat_template: str | None) -> dict[str, Any]:
    """The tokenizer's settings in the words of transformers 4, which Dream's code is written for.

    Args:
        folder: where transformers 5 has saved the tokenizer.
        chat_template: the tokenizer's.
    """
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    if settings["tokenizer_class"] == "TokenizersBackend":
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    settings["additional_special_tokens"] = settings.pop("extra_special_tokens", [])
    return settings | ({"chat_template": chat_template} if chat_template else {})


def _check(source: str | Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    config = model.config
    if config.model_type != "qwen2" or config.use_sliding_window:
        raise BadCheckpoint(
            f"{source}: Dream's layout holds Qwen2-shaped models without a sliding window, and "
            f"this is {config.model_type!r}: load it with transformers as it is"
        )
    if getattr(config, "is_causal", True):
        raise BadCheckpoint(
            f"{source}: attention is causal: Dream's layout holds diffusion models, so give one "
            "that went through adaptation"
        )
    if tokenizer.mask_token_id is None:
        raise BadCheckpoint(
            f"{source}: its tokenizer has no mask token: give a checkpoint of this project"
        )


def _write(file: Path, values: dict[str, Any]) -> None:
    file.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
