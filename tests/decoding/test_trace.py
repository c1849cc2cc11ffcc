"""What a trace records, and that it survives Parquet."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from tiny_vocabulary import END, MASK, SPECIAL
from transformers import PreTrainedModel

from diffucoder.config.decoding import DecodingParams
from diffucoder.decoding import Completion, Request, decode, trace
from diffucoder.errors import BadData
from diffucoder.evaluation.autoregressiveness import local_ar

LENGTH = 8


def run(model: PreTrainedModel, top_logprobs: int | None, **options: object) -> Completion:
    shape = {"rule": "maskgit_plus", "max_new_tokens": LENGTH, "steps": LENGTH, "eps": 0.0}
    config = DecodingParams(**shape | {"temperature": 0.9, "top_p": 0.9} | options)
    stream = torch.Generator().manual_seed(3)
    request = Request([1, 2], [MASK] * LENGTH, config, END, stream, top_logprobs=top_logprobs)
    return decode(model, [request, request], SPECIAL).rows[0]


def test_a_trace_changes_nothing_and_is_made_on_request_alone(model: PreTrainedModel) -> None:
    plain, traced = run(model, None), run(model, 3)
    assert plain.trace is None
    assert traced.trace is not None
    assert torch.equal(plain.canvas, traced.canvas)


@pytest.mark.parametrize("steps", [LENGTH, 3])
def test_a_trace_tells_every_reveal_in_order(model: PreTrainedModel, steps: int) -> None:
    row = run(model, 3, steps=steps, drop_after_end=False)
    told = row.trace
    assert told is not None
    assert row.canvas[told.position].tolist() == told.token
    assert row.reveal_step[told.position].tolist() == told.reveal_step == sorted(told.reveal_step)
    assert sorted(told.position) == list(range(LENGTH))


def test_probabilities_are_those_of_the_distribution_that_was_drawn_from(
    model: PreTrainedModel,
) -> None:
    row = run(model, 13, temperature=1.0, top_p=1.0)
    told = row.trace
    assert told is not None
    canvas = [MASK] * LENGTH
    for index, (place, token) in enumerate(zip(told.position, told.token, strict=True)):
        with torch.no_grad():
            logits_V = model(torch.tensor([[1, 2, *canvas]])).logits[0, 2 + place - 1]
        logits_V[MASK] = -torch.inf
        probs_V = logits_V.softmax(0)
        assert told.probability[index] == pytest.approx(float(probs_V[token]), rel=1e-5)
        best = probs_V.sort(descending=True)
        assert told.top_tokens[index] == best.indices.tolist()
        assert told.top_probabilities[index] == pytest.approx(best.values.tolist(), abs=1e-6)
        canvas[place] = token


def test_parquet_gives_back_what_was_written(model: PreTrainedModel, tmp_path: Path) -> None:
    traces = {"p0/0": run(model, 2).trace, "p0/1": run(model, 2, temperature=0.0).trace}
    file = tmp_path / "traces.parquet"
    trace.write(traces, file)
    found = trace.read(file)
    assert list(found) == list(traces)
    for name, told in traces.items():
        assert found[name].token == told.token
        assert found[name].top_tokens == told.top_tokens
        assert found[name].probability == pytest.approx(told.probability)
    # A table like any other, from which the order of reveals is read for AR-ness.
    order = pd.read_parquet(file).query("name == 'p0/0'").sort_values("reveal_step")["position"]
    assert local_ar(order.tolist(), 1) == local_ar(traces["p0/0"].position, 1)


def test_another_table_is_no_trace(tmp_path: Path) -> None:
    pd.DataFrame({"token": [1]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(BadData, match="not a file of traces, it lacks"):
        trace.read(tmp_path / "other.parquet")
