from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from diffucoder.config.decoding import DecodingParams
from diffucoder.decoding import Generation, generate
from diffucoder.errors import BadCheckpoint, BadData

MASK, END, PAD = 12, 10, 11
PROMPTS = [[1, 2, 3], [4], [5, 6, 7, 8, 9], [2, 2]]
RULES = ["origin", "maskgit_plus", "topk_margin", "entropy"]


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def params(rule: str = "entropy", **options: float) -> DecodingParams:
    return DecodingParams(**{"rule": rule, "max_new_tokens": 10, "steps": 5} | options)


def decode(
    model: PreTrainedModel,
    prompts: list[list[int]],
    config: DecodingParams,
    generator: torch.Generator | list[torch.Generator] | None = None,
) -> Generation:
    return generate(model, prompts, config, MASK, END, PAD, generator)


@pytest.fixture
def mask_lover(model: PreTrainedModel) -> Iterator[PreTrainedModel]:
    """A model that would write the mask token everywhere."""

    def prefer_mask(module: nn.Module, args: tuple, output: Tensor) -> Tensor:
        output[..., MASK] += 100
        return output

    hook = model.get_output_embeddings().register_forward_hook(prefer_mask)
    yield model
    hook.remove()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "alg_temp": 0.4}], ids=str)
def test_a_row_is_decoded_alone_as_in_any_batch(
    model: PreTrainedModel, rule: str, options: dict[str, float]
) -> None:
    config = params(rule, **options)
    together = decode(model, PROMPTS, config, seeded(0, 1, 2, 3))
    turned = decode(model, PROMPTS[::-1] + PROMPTS, config, seeded(3, 2, 1, 0, 4, 5, 6, 7))
    for row, prompt in enumerate(PROMPTS):
        alone = decode(model, [prompt], config, seeded(row))
        for other, place in ((together, row), (turned, 3 - row)):
            assert torch.equal(alone.canvas[0], other.canvas[place])
            assert torch.equal(alone.reveal_step[0], other.reveal_step[place])
            assert alone.completions[0] == other.completions[place]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_no_mask_is_sampled_and_none_survives(
    mask_lover: PreTrainedModel, rule: str, temperature: float
) -> None:
    config = params(rule, temperature=temperature, steps=4)
    generation = decode(mask_lover, PROMPTS, config, seeded(0, 1, 2, 3))
    assert not (generation.canvas == MASK).any()
    assert generation.reveal_step.min() >= 0 and generation.reveal_step.max() <= 3
    assert generation.forwards == 4


@pytest.mark.parametrize("rule", ["maskgit_plus", "topk_margin", "entropy"])
@pytest.mark.parametrize("alg_temp", [0.0, 0.5])
def test_as_many_steps_as_tokens_reveal_exactly_one_a_step(
    model: PreTrainedModel, rule: str, alg_temp: float
) -> None:
    config = params(rule, steps=10, eps=0.0, temperature=1.0, alg_temp=alg_temp)
    generation = decode(model, PROMPTS, config, seeded(0, 1, 2, 3))
    for steps in generation.reveal_step.tolist():
        assert sorted(steps) == list(range(10))


def test_canvas_that_is_full_early_is_left_as_it_is(model: PreTrainedModel) -> None:
    config = params("origin", max_new_tokens=2, steps=2, temperature=1.0, top_p=0.9, top_k=3)
    last = [
        decode(model, [[1]], config, seeded(seed)).reveal_step.max().item() for seed in range(12)
    ]
    assert set(last) == {0, 1}


def test_completions_end_with_the_end_token_or_before_filler(model: PreTrainedModel) -> None:
    config = params(temperature=1.5)
    generation = decode(model, PROMPTS * 8, config, torch.Generator().manual_seed(0))
    endings = set()
    for row, completion in zip(generation.canvas.tolist(), generation.completions, strict=True):
        marks = [place for place, token in enumerate(row) if token in (END, PAD)]
        cut = marks[0] + (row[marks[0]] == END) if marks else len(row)
        assert completion == row[:cut]
        endings.add(row[marks[0]] if marks else None)
    assert endings == {END, PAD, None}


def test_one_generator_gives_each_row_its_stream(model: PreTrainedModel) -> None:
    config = params(temperature=1.0)
    same = [[1, 2]] * 3
    first = decode(model, same, config, torch.Generator().manual_seed(0))
    again = decode(model, same, config, torch.Generator().manual_seed(0))
    fewer = decode(model, same[:2], config, torch.Generator().manual_seed(0))
    assert torch.equal(first.canvas, again.canvas)
    assert torch.equal(first.canvas[:2], fewer.canvas)
    assert not torch.equal(first.canvas[0], first.canvas[1])


def test_global_random_state_is_read_only_without_a_generator(model: PreTrainedModel) -> None:
    config = params(temperature=1.0)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    decode(model, PROMPTS, config, torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)
    first = decode(model, PROMPTS, config)
    torch.set_rng_state(before)
    assert torch.equal(decode(model, PROMPTS, config).canvas, first.canvas)


def test_no_prompts_give_no_completions(model: PreTrainedModel) -> None:
    generation = decode(model, [], params(temperature=1.0), torch.Generator())
    assert generation.completions == [] and generation.canvas.shape == (0, 10)


def test_a_prompt_may_fill_the_context_and_no_more(model: PreTrainedModel) -> None:
    decode(model, [[1] * 22], params())
    with pytest.raises(BadData, match=r"prompt 1 has 23 tokens .* 10, .*context of 32: shorten"):
        decode(model, [[1], [1] * 23], params())


def test_an_empty_prompt_is_named(model: PreTrainedModel) -> None:
    with pytest.raises(BadData, match="prompt 2 is empty"):
        decode(model, [[1], [2], []], params())


def test_a_model_without_mask_token_is_an_error(model: PreTrainedModel) -> None:
    with pytest.raises(BadCheckpoint, match="mask_token_id is None"):
        generate(model, PROMPTS, params(), None, END, PAD)


def test_too_few_generators_are_an_error(model: PreTrainedModel) -> None:
    with pytest.raises(ValueError, match="got 2 generators for 4 prompts"):
        decode(model, PROMPTS, params(), seeded(1, 2))
