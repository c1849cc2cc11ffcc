"""Names that notebooks and other people's code hold on to."""

import importlib
import inspect

import pytest

NAMES = {
    "diffucoder.model": ["load"],
    "diffucoder.model.shift": ["aligned_logits"],
    "diffucoder.diffusion.corruption": ["coupled_masks"],
    "diffucoder.diffusion.objectives": ["masked_diffusion_loss"],
    "diffucoder.rl.batch": ["CompletionBatch"],
    "diffucoder.rl.estimators": ["make"],
    "diffucoder.rl.advantages": ["leave_one_out"],
    "diffucoder.rl.objectives.grpo": ["clipped_loss"],
    "diffucoder.decoding": ["generate"],
    "diffucoder.config.decoding": ["DecodingParams"],
    "diffucoder.sandbox": ["Sandbox", "Program", "Verdict"],
    "diffucoder.rewards.extract": ["extract_code"],
    "diffucoder.evaluation.pass_at_k": ["pass_at_k"],
    "diffucoder.evaluation.autoregressiveness": ["local_ar", "global_ar"],
    "diffucoder.data.packing": ["pack"],
}

ARGUMENTS = {
    ("diffucoder.diffusion.corruption", "coupled_masks"): ["maskable_BL", "t_B", "generator"],
    ("diffucoder.diffusion.objectives", "masked_diffusion_loss"): [
        "logits_BLV", "tokens_BL", "masked_BL", "t_B", "denominator",
    ],
    ("diffucoder.rl.objectives.grpo", "clipped_loss"): [
        "new_BL", "old_BL", "advantages_B", "completion_mask_BL", "epsilon", "denominator",
        "ref_BL", "beta",
    ],
    ("diffucoder.rl.estimators", "make"): ["options", "mask_token_id", "steps", "logits_mib"],
    ("diffucoder.decoding", "generate"): [
        "model", "prompts", "config", "mask_token_id", "eos_token_id", "pad_token_id", "generator",
    ],
    ("diffucoder.data.packing", "pack"): ["documents", "length", "end_token_id"],
    ("diffucoder.evaluation.autoregressiveness", "local_ar"): ["order", "k"],
    ("diffucoder.evaluation.autoregressiveness", "global_ar"): ["order", "k"],
    ("diffucoder.evaluation.pass_at_k", "pass_at_k"): ["n", "c", "k"],
}  # fmt: skip


@pytest.mark.parametrize("module", sorted(NAMES))
def test_names_can_be_imported_and_say_what_they_are(module: str) -> None:
    for name in NAMES[module]:
        assert inspect.getdoc(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize(("module", "name"), sorted(ARGUMENTS))
def test_arguments_keep_their_names_and_order(module: str, name: str) -> None:
    function = getattr(importlib.import_module(module), name)
    assert list(inspect.signature(function).parameters) == ARGUMENTS[module, name]
