from collections.abc import Callable

import pytest
import torch
from helpers import seeded
from tiny_vocabulary import END, MASK, PAD, SPECIAL, VOCABULARY
from transformers import PreTrainedModel

from diffucoder.config.decoding import DecodingParams
from diffucoder.decoding import Completion, Generation, Request, generate, stream
from diffucoder.decoding import decode as decode_requests
from diffucoder.errors import BadCheckpoint, BadData, BadParameters

PROMPTS = [[1, 2, 3], [4], [5, 6, 7, 8, 9], [2, 2]]
RULES = ["origin", "maskgit_plus", "topk_margin", "entropy", "threshold"]
FREE = {"temperature": 1.0, "steps": 10, "threshold": 0.3}
BLOCKS = FREE | {"block_length": 5}


def params(rule: str = "entropy", **options: float) -> DecodingParams:
    return DecodingParams(**{"rule": rule, "max_new_tokens": 10, "steps": 5} | options)


def decode(
    model: PreTrainedModel,
    prompts: list[list[int]],
    config: DecodingParams,
    generator: torch.Generator | list[torch.Generator] | None = None,
) -> Generation:
    return generate(model, prompts, config, MASK, END, PAD, generator)


def requests(config: DecodingParams, lengths: list[int], prompts: list[list[int]]) -> list[Request]:
    return [
        Request(prompt, [MASK] * length, config, END, torch.Generator().manual_seed(seed))
        for seed, (prompt, length) in enumerate(zip(prompts, lengths, strict=True))
    ]


def assert_equal_rows(one: Completion, other: Completion) -> None:
    assert torch.equal(one.canvas, other.canvas)
    assert torch.equal(one.reveal_step, other.reveal_step)
    assert (one.tokens, one.reason) == (other.tokens, other.reason)


@pytest.mark.slow
@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "options",
    [
        {},
        FREE,
        FREE | {"drop_after_end": True},
        BLOCKS | {"cache": "prefix"},
        BLOCKS | {"cache": "dual", "refresh_every": 2, "drop_after_end": True},
        FREE | {"max_padding": 0.1},
    ],
    ids=str,
)
def test_a_row_is_decoded_alone_as_in_any_batch(
    model: PreTrainedModel, rule: str, options: dict, padding: str
) -> None:
    config, lengths = params(rule, **options), [10, 10, 7, 15]
    together = requests(config, lengths, PROMPTS)
    found = decode_requests(model, together, SPECIAL, padding).rows
    turned = requests(config, lengths, PROMPTS)[::-1] + requests(config, lengths, PROMPTS)[:2]
    others = decode_requests(model, turned, SPECIAL, padding).rows
    for row, request in enumerate(requests(config, lengths, PROMPTS)):
        alone = decode_requests(model, [request], SPECIAL).rows[0]
        assert_equal_rows(alone, found[row])
        assert_equal_rows(alone, others[3 - row])


def test_rows_of_one_batch_may_differ_in_every_option(model: PreTrainedModel) -> None:
    configs = [
        params("entropy"),
        params("origin", **FREE),
        params("threshold", **BLOCKS, cache="dual"),
        params("maskgit_plus", **BLOCKS, cache="prefix", refresh_every=1),
    ]

    def asked() -> list[Request]:
        return [requests(config, [10], [PROMPTS[0]])[0] for config in configs]

    together = decode_requests(model, asked(), SPECIAL)
    for row, request in enumerate(asked()):
        alone = decode_requests(model, [request], SPECIAL)
        assert_equal_rows(alone.rows[0], together.rows[row])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_no_mask_is_sampled_and_none_survives(
    biased: Callable[[int], PreTrainedModel], rule: str, temperature: float
) -> None:
    config = params(rule, temperature=temperature, steps=4)
    generation = decode(biased(MASK), PROMPTS, config, seeded(0, 1, 2, 3))
    assert not (generation.canvas == MASK).any()
    assert generation.reveal_step.min() >= 0 and generation.reveal_step.max() <= 3
    assert generation.forwards == 4


@pytest.mark.parametrize("rule", RULES)
def test_filler_is_never_text(biased: Callable[[int], PreTrainedModel], rule: str) -> None:
    generation = decode(biased(PAD), PROMPTS, params(rule, temperature=1.0), seeded(0, 1, 2, 3))
    assert (generation.canvas == PAD).all()
    assert generation.completions == [[]] * 4
    assert [row.reason for row in generation.rows] == ["end"] * 4


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


@pytest.mark.parametrize("token", [END, PAD])
def test_what_comes_after_an_end_is_dropped_if_asked(
    biased: Callable[[int], PreTrainedModel], queries: list[torch.Size], token: int
) -> None:
    config = params("maskgit_plus", steps=10, eps=0.0, drop_after_end=True)
    generation = decode(biased(token), [[1, 2, 3]], config)
    # Of equals the leftmost is revealed first, so nothing else is ever looked at.
    assert queries == [torch.Size([1, 13])]
    assert generation.completions == [[END] if token == END else []]
    assert generation.canvas[0].tolist() == [token] + [PAD] * 9
    assert generation.reveal_step[0].tolist() == [0] + [-1] * 9
    assert (generation.forwards, generation.computed_positions) == (1, 13)


def test_a_dropped_tail_is_not_computed_and_keeps_the_pace(
    model: PreTrainedModel, queries: list[torch.Size]
) -> None:
    config = params("entropy", temperature=1.5, max_new_tokens=16, steps=8, drop_after_end=True)
    lengths = []
    for seed in range(8):
        queries.clear()
        row = decode(model, [[1, 2, 3]], config, seeded(seed)).rows[0]
        computed = [shape[1] - 3 for shape in queries]
        assert computed == sorted(computed, reverse=True)
        ends = [place for place, token in enumerate(row.canvas.tolist()) if token in (END, PAD)]
        assert not ends or (row.canvas[ends[0] + 1 :] == PAD).all()
        # Two tokens a step, whatever was dropped: one more step at most for each odd rest.
        assert len(computed) <= 8
        lengths.append(computed[-1])
    assert min(lengths) < 16


def test_finished_rows_are_no_longer_computed(
    model: PreTrainedModel, queries: list[torch.Size]
) -> None:
    config = params("entropy", steps=10, eps=0.0)
    decode_requests(model, requests(config, [2, 10, 4], PROMPTS[:3]), SPECIAL)
    assert [shape[0] for shape in queries] == [3] * 2 + [2] * 2 + [1] * 6


def test_steps_without_a_budget_cost_nothing(
    model: PreTrainedModel, queries: list[torch.Size]
) -> None:
    generation = decode(model, [[1, 2, 3]], params("entropy", steps=10, eps=0.1))
    assert len(set(generation.reveal_step[0].tolist())) == len(queries) == generation.forwards < 10


def test_masks_of_a_longer_canvas_are_revealed_at_the_same_pace(model: PreTrainedModel) -> None:
    config = params("entropy", max_new_tokens=10, steps=5, eps=0.0)
    row = decode_requests(model, requests(config, [16], [[1]]), SPECIAL).rows[0]
    assert sorted(row.reveal_step.tolist()) == sorted([*range(8)] * 2)


def test_a_given_start_is_kept_and_begins_the_completion(model: PreTrainedModel) -> None:
    request = Request([1, 2], [7, 3, *[MASK] * 5], params("entropy", steps=10, eps=0.0), END)
    row = decode_requests(model, [request], SPECIAL).rows[0]
    assert row.tokens[:2] == [7, 3]
    assert sorted(row.reveal_step.tolist()) == [-1, -1, *range(5)]
    prompt = Request([1, 2, 7, 3], [MASK] * 5, params("entropy", steps=10, eps=0.0), END)
    assert decode_requests(model, [prompt], SPECIAL).rows[0].tokens == row.tokens[2:]


def test_splitting_by_length_saves_padding(model: PreTrainedModel) -> None:
    prompts = [[1] * 20, [1], [1] * 19, [1, 1]]
    whole = decode(model, prompts, params())
    split = decode(model, prompts, params(max_padding=0.1))
    assert torch.equal(whole.canvas, split.canvas)
    assert (whole.forwards, whole.computed_positions) == (5, 5 * 4 * 30)
    assert (split.forwards, split.computed_positions) == (10, 5 * (2 * 30 + 2 * 12))


def test_logits_that_are_too_many_at_once_are_taken_in_parts(
    model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = params("entropy", temperature=1.0, top_p=0.9)
    whole = decode(model, PROMPTS, config, seeded(0, 1, 2, 3))
    sizes = []
    hook = model.get_output_embeddings().register_forward_hook(
        lambda module, args, output: sizes.append(len(output))
    )
    # Room for seven positions of the vocabulary.
    monkeypatch.setattr("diffucoder.decoding.choice.LOGITS", 7 * VOCABULARY + 1)
    parts = decode(model, PROMPTS, config, seeded(0, 1, 2, 3))
    hook.remove()
    assert torch.equal(whole.canvas, parts.canvas)
    assert sizes[:6] == [7, 7, 7, 7, 7, 5]


def test_a_stream_tells_each_reveal_once(model: PreTrainedModel) -> None:
    config = params("threshold", **FREE)
    whole = decode_requests(model, requests(config, [10] * 4, PROMPTS), SPECIAL)
    told = torch.full((4, 10), -1)
    ended = {}
    for step in stream(model, requests(config, [10] * 4, PROMPTS), SPECIAL):
        assert step.row not in ended
        assert (told[step.row, step.positions] == -1).all()
        told[step.row, step.positions] = torch.tensor(step.tokens)
        assert (whole.reveal_step[step.row, step.positions] == step.step).all()
        if step.completion:
            ended[step.row] = step.completion
    assert torch.equal(told, whole.canvas)
    for row, completion in enumerate(whole.rows):
        assert_equal_rows(completion, ended[row])


def test_a_prompt_may_fill_the_context_and_no_more(model: PreTrainedModel) -> None:
    decode(model, [[1] * 22], params())
    with pytest.raises(BadData, match=r"prompt 1 has 23 tokens .* 10, .*context of 32: shorten"):
        decode(model, [[1], [1] * 23], params())


def test_a_canvas_without_masks_is_named(model: PreTrainedModel) -> None:
    with pytest.raises(BadData, match="canvas 0 has no mask token"):
        decode_requests(model, [Request([1], [2, 3], params(), END)], SPECIAL)


def test_a_cache_needs_attention_that_takes_a_mask(
    model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model.config, "_attn_implementation_internal", "flash_attention_2")
    with pytest.raises(BadParameters, match=r"attention is flash_attention_2.*cache to none"):
        decode(model, PROMPTS, params(cache="dual"))


def test_an_empty_prompt_is_named(model: PreTrainedModel) -> None:
    with pytest.raises(BadData, match="prompt 2 is empty"):
        decode(model, [[1], [2], []], params())


def test_a_model_without_mask_token_is_an_error(model: PreTrainedModel) -> None:
    with pytest.raises(BadCheckpoint, match="mask_token_id is None"):
        generate(model, PROMPTS, params(), None, END, PAD)


def test_too_few_generators_are_an_error(model: PreTrainedModel) -> None:
    with pytest.raises(ValueError, match="got 2 generators for 4 prompts"):
        decode(model, PROMPTS, params(), seeded(1, 2))
