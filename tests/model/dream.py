"""Dream's layout, written and computed without transformers: a directory, and its forward pass."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import pre_tokenizers
from torch import Tensor
from torch.nn.functional import linear, silu

LAYERS, HEADS, KEY_HEADS, WIDTH, INNER, ROWS = 2, 4, 2, 32, 48, 272
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|mask|>", "<|dlm_pad|>"]
CONFIG = {
    "architectures": ["DreamModel"],
    "attention_dropout": 0.0,
    "auto_map": {
        "AutoConfig": "configuration_dream.DreamConfig",
        "AutoModel": "modeling_dream.DreamModel",
    },
    "bos_token_id": 256,
    "eos_token_id": 256,
    "hidden_act": "silu",
    "hidden_size": WIDTH,
    "initializer_range": 0.02,
    "intermediate_size": INNER,
    "mask_token_id": 259,
    "max_position_embeddings": 128,
    "max_window_layers": LAYERS,
    "model_type": "Dream",
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "num_key_value_heads": KEY_HEADS,
    "pad_token_id": 260,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 5000.0,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "transformers_version": "4.46.2",
    "use_cache": True,
    "use_mrope": False,
    "use_sliding_window": False,
    "vocab_size": ROWS,
}
# Run by nothing that is told not to trust it.
CODE = "raise AssertionError('code of the checkpoint was run')\n"


def write(folder: Path) -> None:
    """A checkpoint with random weights in two shards, a byte tokenizer, and code."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int, around: float = 0.0) -> Tensor:
        return around + 0.3 * torch.randn(*shape, generator=generator)

    folder.mkdir()
    keys = KEY_HEADS * WIDTH // HEADS
    body = {"model.embed_tokens.weight": draw(ROWS, WIDTH), "model.norm.weight": draw(WIDTH)}
    for layer in range(LAYERS):
        name = f"model.layers.{layer}"
        for part, rows in {"q": WIDTH, "k": keys, "v": keys}.items():
            body[f"{name}.self_attn.{part}_proj.weight"] = draw(rows, WIDTH)
            body[f"{name}.self_attn.{part}_proj.bias"] = draw(rows)
        body[f"{name}.self_attn.o_proj.weight"] = draw(WIDTH, WIDTH)
        body[f"{name}.mlp.gate_proj.weight"] = draw(INNER, WIDTH)
        body[f"{name}.mlp.up_proj.weight"] = draw(INNER, WIDTH)
        body[f"{name}.mlp.down_proj.weight"] = draw(WIDTH, INNER)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            body[f"{name}.{norm}.weight"] = draw(WIDTH, around=1.0)
    shards = {
        "model-00001-of-00002.safetensors": body,
        "model-00002-of-00002.safetensors": {"lm_head.weight": draw(ROWS, WIDTH)},
    }
    for file, weights in shards.items():
        save_file(weights, folder / file, metadata={"format": "pt"})
    weight_map = {name: file for file, weights in shards.items() for name in weights}
    size = sum(w.nbytes for weights in shards.values() for w in weights.values())
    write_json(
        folder / "model.safetensors.index.json",
        {"metadata": {"total_size": size}, "weight_map": weight_map},
    )
    write_json(folder / "config.json", CONFIG)
    for file in ("configuration_dream.py", "modeling_dream.py", "tokenization_dream.py"):
        (folder / file).write_text(CODE)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    write_json(folder / "vocab.json", {letter: i for i, letter in enumerate(letters)})
    (folder / "merges.txt").write_text("#version: 0.2\n")
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "DreamTokenizer",
            "auto_map": {"AutoTokenizer": ["tokenization_dream.DreamTokenizer", None]},
            "added_tokens_decoder": {
                str(256 + i): {"content": token, "special": True, "normalized": False}
                for i, token in enumerate(SPECIAL)
            },
            "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
            "bos_token": "<|endoftext|>",
            "eos_token": "<|endoftext|>",
            "mask_token": "<|mask|>",
            "pad_token": "<|dlm_pad|>",
            "model_max_length": 128,
        },
    )


def write_json(file: Path, values: dict) -> None:
    file.write_text(json.dumps(values))


def read_weights(folder: Path) -> dict[str, Tensor]:
    return {
        name: weight
        for file in sorted(folder.glob("*.safetensors"))
        for name, weight in load_file(file).items()
    }


def forward(folder: Path, ids_L: Tensor) -> Tensor:
    """Logits `[L, V]` of one row: Qwen2's block, every position open to every other."""
    config = json.loads((folder / "config.json").read_text())
    weights = read_weights(folder)
    heads, key_heads = config["num_attention_heads"], config["num_key_value_heads"]
    size = config["hidden_size"] // heads

    def norm(states_LD: Tensor, name: str) -> Tensor:
        scale = states_LD.pow(2).mean(-1, keepdim=True).add(config["rms_norm_eps"]).rsqrt()
        return states_LD * scale * weights[f"{name}.weight"]

    angles_LC = torch.arange(len(ids_L))[:, None] * config["rope_theta"] ** (
        -torch.arange(0, size, 2) / size
    )

    def rotated(states_LHC: Tensor) -> Tensor:
        first, second = states_LHC.chunk(2, dim=-1)
        cos, sin = angles_LC.cos()[:, None], angles_LC.sin()[:, None]
        return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)

    states_LD = weights["model.embed_tokens.weight"][ids_L]
    for layer in range(config["num_hidden_layers"]):
        name = f"model.layers.{layer}"
        into_LD = norm(states_LD, f"{name}.input_layernorm")
        query, key, value = (
            linear(
                into_LD,
                weights[f"{name}.self_attn.{part}_proj.weight"],
                weights[f"{name}.self_attn.{part}_proj.bias"],
            ).unflatten(-1, (-1, size))
            for part in "qkv"
        )
        query, key = rotated(query), rotated(key)
        key, value = (x.repeat_interleave(heads // key_heads, dim=1) for x in (key, value))
        share_HLL = (torch.einsum("qhc,khc->hqk", query, key) / size**0.5).softmax(-1)
        mixed_LD = torch.einsum("hqk,khc->qhc", share_HLL, value).flatten(1)
        states_LD = states_LD + linear(mixed_LD, weights[f"{name}.self_attn.o_proj.weight"])
        into_LD = norm(states_LD, f"{name}.post_attention_layernorm")
        gate = silu(linear(into_LD, weights[f"{name}.mlp.gate_proj.weight"]))
        up = linear(into_LD, weights[f"{name}.mlp.up_proj.weight"])
        states_LD = states_LD + linear(gate * up, weights[f"{name}.mlp.down_proj.weight"])
    return linear(norm(states_LD, "model.norm"), weights["lm_head.weight"])
