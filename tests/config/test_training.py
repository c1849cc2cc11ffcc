from typing import Any

import pytest
from pydantic import ValidationError

from diffucoder.config.training import TrainingParams

VALID: dict[str, Any] = {
    "steps": 10,
    "batch_size": 8,
    "optimizer": {
        "learning_rate": 1e-3,
        "betas": [0.9, 0.95],
        "epsilon": 1e-8,
        "weight_decay": 0.1,
        "max_grad_norm": 1.0,
        "fused": False,
    },
    "schedule": {"kind": "cosine", "warmup_steps": 2, "floor": 0.1},
    "engine": {
        "launcher": "local",
        "hostfile": None,
        "nproc_per_node": 2,
        "threads": 1,
        "zero_stage": 0,
        "precision": "fp32",
        "offload": "none",
        "gradient_checkpointing": False,
        "compile": False,
        "micro_batch": 4,
        "nonfinite_limit": 1,
        "save_every_s": 60,
        "save_total_limit": 1,
        "attention": "auto",
        "logits_mib": 256,
        "keep_best": False,
        "on_change": "refuse",
    },
}


def test_valid_parameters_are_accepted() -> None:
    assert TrainingParams.model_validate(VALID).engine.nproc_per_node == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 7}, "multiple of engine.nproc_per_node"),
        ({"schedule": VALID["schedule"] | {"warmup_steps": 11}}, "must not exceed steps"),
        ({"optimizer": VALID["optimizer"] | {"betas": [0.9, 1.0]}}, r"betas must be in \[0, 1\)"),
        ({"engine": VALID["engine"] | {"zero_stage": 4}}, "engine.zero_stage"),
        ({"engine": VALID["engine"] | {"rank": 2}}, "engine.rank"),
    ],
)
def test_bad_parameters_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainingParams.model_validate(VALID | change)
