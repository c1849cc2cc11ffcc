from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_stage import LENGTH, VOCABULARY, loss, prepare, rows_between, tiny_model
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from diffucoder.config.training import LoraParams, TrainingParams
from diffucoder.engine import checkpoints, lora, resume
from diffucoder.engine.context import Context
from diffucoder.engine.flops import body_weights
from diffucoder.engine.job import Job
from diffucoder.engine.launch import STOP_FILE
from diffucoder.engine.loop import optimizer_step
from diffucoder.engine.zero import Engine, export, full_weights, initialize
from diffucoder.errors import BadCheckpoint, BadParameters

PARAMS = LoraParams(r=2, lora_alpha=4.0, target_modules=["q_proj", "down_proj"], modules_to_save=[])


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_adapters_change_nothing_before_the_first_update() -> None:
    tokens_BL = torch.randint(VOCABULARY, (2, LENGTH), generator=generator())
    model = tiny_model(0)
    before = model(tokens_BL).logits
    lora.add(model, PARAMS, generator())
    assert torch.equal(model(tokens_BL).logits, before)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert len(trained) == 2 * 2 * 2
    assert all(".lora_" in name for name in trained)


def test_adapters_are_drawn_from_the_generator_alone() -> None:
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(len(drawn))
        model = tiny_model(0)
        lora.add(model, PARAMS, torch.Generator().manual_seed(seed))
        drawn.append(model.get_parameter("model.layers.0.self_attn.q_proj.lora_A.default.weight"))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("zero_stage", [0, 1, 3])
@pytest.mark.parametrize("whole", [[], ["embed_tokens"]])
def test_a_trained_model_with_adapters_is_saved_as_a_plain_one(
    zero_stage: int,
    whole: list[str],
    training: Callable[..., TrainingParams],
    tokenizer_dir: Path,
    tmp_path: Path,
    process_group: None,
) -> None:
    model = tiny_model(0)
    lora.add(model, PARAMS.model_copy(update={"modules_to_save": whole}), generator())
    engine = initialize(model, training(engine={"zero_stage": zero_stage}))
    for step in range(3):
        draws = [torch.Generator().manual_seed(row) for row in range(4)]
        optimizer_step(engine, [prepare(rows_between(0, 4), step, draws)], loss)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tokenizer_dir)
    export(engine, tokenizer, tmp_path / "model")

    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    start = dict(tiny_model(0).named_parameters())
    changed = {name for name, w in loaded.named_parameters() if not torch.equal(w, start[name])}
    targets = {
        f"model.layers.{layer}.{part}.weight"
        for layer in (0, 1)
        for part in ("self_attn.q_proj", "mlp.down_proj")
    }
    assert changed == targets | ({"model.embed_tokens.weight"} if whole else set())
    if zero_stage < 3:
        tokens_BL = torch.randint(VOCABULARY, (2, LENGTH), generator=generator())
        torch.testing.assert_close(loaded(tokens_BL).logits, engine.model(tokens_BL).logits)


def test_operations_count_each_weight_once() -> None:
    model = tiny_model(0)
    plain = body_weights(model)
    lora.add(model, PARAMS, generator())
    # Queries 16 to 16, and the feed-forward layer's last matrix, 32 to 16; both of rank 2.
    adapters = 2 * 2 * (16 + 16 + 32 + 16)
    assert body_weights(model) == pytest.approx(2 / 3 * plain + adapters)


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(BadParameters, match=r"no modules \['query'\]; it has .*'q_proj'"):
        lora.add(
            tiny_model(0), PARAMS.model_copy(update={"target_modules": ["query"]}), generator()
        )


@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_a_save_holds_what_is_trained_and_brings_all_of_it_back(
    zero_stage: int,
    training: Callable[..., TrainingParams],
    job: Callable[..., Job],
    context_of: Callable[[Job], Context],
) -> None:
    params = training(engine={"zero_stage": zero_stage})
    context = context_of(job(params))

    def started() -> Engine:
        model = tiny_model(0)
        lora.add(model, PARAMS, generator())
        return initialize(model, params)

    def two_steps(engine: Engine) -> dict[str, torch.Tensor]:
        for step in range(2):
            draws = [torch.Generator().manual_seed(row) for row in range(4)]
            optimizer_step(engine, [prepare(rows_between(0, 4), step, draws)], loss)
        with full_weights(engine) as model:
            return {name: weight.detach().clone() for name, weight in model.named_parameters()}

    engine = started()
    two_steps(engine)
    resume.save(context, engine, 1, {})
    frozen = {name for name, w in engine.model.named_parameters() if not w.requires_grad}
    for file in (context.job.work / "saves").rglob("*_model_states.pt"):
        saved = torch.load(file, weights_only=False)
        assert not {name.removeprefix("model.") for name in saved["module"]} & frozen
        assert not saved.get("frozen_param_fragments")
    whole = two_steps(engine)
    resumed = started()
    assert resume.resume(context, resumed)[0] == 1
    again = two_steps(resumed)
    assert again.keys() == whole.keys()
    assert all(torch.equal(again[name], weight) for name, weight in whole.items())


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", [0, 1, 3])
def test_two_ranks_and_then_one_train_adapters_like_one(
    zero_stage: int,
    training: Callable[..., TrainingParams],
    job: Callable[..., Job],
    ranks: Any,
) -> None:
    adapters = PARAMS.model_dump()
    alone = job(training(), "alone", lora=adapters)
    assert ranks.wait(*ranks.start(alone, "tiny_stage", 1)) == [0]
    params = training(engine={"nproc_per_node": 2, "zero_stage": zero_stage, "micro_batch": 2})
    cut = job(params, "cut", lora=adapters, fault={"kind": "stop", "step": 2})
    assert ranks.wait(*ranks.start(cut, "tiny_stage", 2)) == [0, 0]
    assert checkpoints.latest(cut.work).step == 3
    (cut.work / STOP_FILE).unlink()
    assert ranks.wait(*ranks.start(cut, "tiny_stage", 1)) == [0]
    expected, found = (load_file(each.output / "model.safetensors") for each in (alone, cut))
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-5, atol=1e-5)


def test_restoring_takes_all_that_was_trained_and_nothing_else() -> None:
    source, target = tiny_model(1), tiny_model(2)
    lora.restore(target, lora.trained(source))
    for name, weight in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], weight)
    some = lora.trained(source)
    some.pop(next(iter(some)))
    with pytest.raises(BadCheckpoint, match=r"embed_tokens.* and 0 more"):
        lora.restore(target, some)
