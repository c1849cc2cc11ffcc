"""What all stages share is written once, and each stage may differ."""

from typing import Any

import pytest

from diffucoder import settings
from diffucoder.config.check import validated
from diffucoder.config.engine import EngineParams, RankParams
from diffucoder.config.expand import expand
from diffucoder.config.root import Parameters
from diffucoder.errors import BadParameters


def parameters(**given: Any) -> dict[str, Any]:
    """The parameters of `conf/base` with those of `--params`, as the project reads them."""
    loader = settings.CONFIG_LOADER_CLASS(
        str(settings.ROOT / "conf"), runtime_params=given, **settings.CONFIG_LOADER_ARGS
    )
    return loader["parameters"]


def test_defaults_fill_every_block_of_their_name() -> None:
    found = parameters(engine={"threads": 7})
    trainings = [found["adaptation"]["pretraining"], found["grpo"]["training"]]
    assert all(set(training["engine"]) == set(EngineParams.model_fields) for training in trainings)
    assert {training["engine"]["threads"] for training in trainings} == {7}
    assert "engine" not in found


def test_a_stage_that_trains_nothing_gets_no_settings_of_training() -> None:
    for stage in ("evaluation", "analysis", "lab", "ablation"):
        assert set(parameters()[stage]["engine"]) == set(RankParams.model_fields)


def test_a_stage_may_differ() -> None:
    found = parameters(engine={"threads": 7}, grpo={"training": {"engine": {"threads": 1}}})
    assert found["grpo"]["training"]["engine"]["threads"] == 1
    assert found["backbone"]["training"]["engine"]["threads"] == 7


def test_expanding_again_changes_nothing() -> None:
    assert expand(parameters()) == parameters()


def test_a_phase_that_is_left_out_stays_out() -> None:
    assert parameters(adaptation={"mid_training": None})["adaptation"]["mid_training"] is None


def test_a_default_that_nothing_reads_is_refused() -> None:
    with pytest.raises(BadParameters, match=r"engine\.thraeds: unknown key; did you mean"):
        parameters(engine={"thraeds": 1})


@pytest.mark.parametrize("wrong", [3, [1]])
def test_what_is_no_mapping_is_left_to_the_check(wrong: Any) -> None:
    assert expand({"engine": {"threads": 1}, "grpo": wrong}) == {"grpo": wrong}
    assert expand({"engine": wrong}) == {"engine": wrong}


def test_a_default_goes_only_to_the_kind_that_reads_it() -> None:
    constant = {"kind": "constant", "warmup_steps": 1}
    found = parameters(grpo={"training": {"schedule": constant}})
    assert found["grpo"]["training"]["schedule"] == constant
    assert found["backbone"]["training"]["schedule"]["floor"] == 0.1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"adaptation": {"weighting": {"cart_p": 0.2}}}, "weighting.inverse_t.cart_p: unknown key"),
        (
            {"evaluation": {"engine": {"zero_stage": 1}}},
            "evaluation.engine.zero_stage: unknown key",
        ),
        (
            {"grpo": {"training": {"schedule": {"kind": "constant", "floor": 0.1}}}},
            "schedule.constant.floor: unknown key",
        ),
        ({"lab": {"engine": {"hostfile": "hosts"}}}, "give a hostfile with launcher 'hostfile'"),
        ({"analysis": {"decoding": {"temperature": 0.5}}}, "decoding.temperature is 0.5"),
    ],
)
def test_a_setting_that_nothing_reads_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(BadParameters) as raised:
        validated(Parameters, parameters(**given), "a test")
    assert message in str(raised.value)
    assert str(raised.value).startswith("1 wrong")
