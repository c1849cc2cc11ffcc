"""Estimators and objectives are written once and named by label, or by an import path."""

from typing import Any

import pytest

from diffucoder import settings
from diffucoder.config.check import RENAMED, validated
from diffucoder.config.expand import expand
from diffucoder.config.labels import reported_name
from diffucoder.config.root import Parameters
from diffucoder.errors import BadParameters
from diffucoder.rl import estimators, objectives


def parameters(**given: Any) -> Parameters:
    """The parameters of `conf/base` with those of `--params`, read and checked as a run does."""
    loader = settings.CONFIG_LOADER_CLASS(
        str(settings.ROOT / "conf"), runtime_params=given, **settings.CONFIG_LOADER_ARGS
    )
    return validated(Parameters, loader["parameters"], "a test")


def refusal(**given: Any) -> str:
    with pytest.raises(BadParameters) as raised:
        parameters(**given)
    return str(raised.value)


def test_what_the_project_brings_has_a_label_of_its_name() -> None:
    for name in estimators.NAMES:
        assert parameters(grpo={"estimator": name}).grpo.estimator.name == name
    for name in objectives.NAMES:
        grpo = parameters(grpo={"objective": name, "estimator": "monte_carlo"}).grpo
        assert grpo.objective.name == name


def test_an_option_is_changed_where_it_is_written_for_all_that_name_the_label() -> None:
    found = parameters(estimators={"coupled": {"pairs": 2}}, grpo={"objective": "espo"})
    assert found.grpo.estimator.pairs == 2
    assert found.lab.estimators["coupled"].pairs == 2
    assert found.ablation.cells["coupled"].estimator.pairs == 2
    assert found.lab.estimators["coupled_without_full_view"].pairs == 1
    assert found.ablation.cells["coupled"].objective.name == "grpo"


def test_labels_of_the_users_own_are_known_everywhere() -> None:
    found = parameters(
        estimators={"many": {"name": "monte_carlo", "draws": 64}},
        grpo={"estimator": "many"},
        lab={"estimators": ["many", "coupled"], "baseline": "many"},
        ablation={"cells": {"many": {"estimator": "many"}}},
    )
    assert found.grpo.estimator.draws == 64
    assert list(found.lab.estimators) == ["many", "coupled"]
    cell = found.ablation.cells["many"]
    assert cell.estimator == found.grpo.estimator
    assert cell.objective is None and cell.advantages == {}


def test_options_may_stand_in_place_of_a_label() -> None:
    found = parameters(grpo={"estimator": {"name": "full_mask", "prompt_masking": 0.1}})
    assert found.grpo.estimator.prompt_masking == 0.1


def test_an_unknown_label_lists_the_known_ones() -> None:
    text = refusal(grpo={"estimator": "cupled"})
    assert text.startswith("grpo.estimator: unknown label 'cupled'; did you mean 'coupled'?")
    assert "Known under estimators: coupled, coupled_without_full_view, " in text
    assert "lab.estimators: unknown label 'x'" in refusal(lab={"estimators": ["x"]})
    cells = {"one": {"objective": "ppo"}}
    assert "ablation.cells.one.objective: unknown label" in refusal(ablation={"cells": cells})


def test_a_wrong_option_is_named_once_where_it_is_written() -> None:
    text = refusal(estimators={"coupled": {"pair": 2}})
    assert text.splitlines()[1:] == [
        "  estimators.coupled.coupled.pair: unknown key; did you mean 'pairs'?"
    ]
    text = refusal(objectives={"grpo": {"epsilon": 0}})
    assert "objectives.grpo.grpo.epsilon: got 0; input should be greater than 0" in text
    assert "expected estimator options with a `name`" in refusal(estimators={"new": {"draws": 2}})


def test_a_tree_without_labels_stays_as_it_is() -> None:
    tree = {"grpo": {"estimator": {"name": "coupled"}}, "lab": 3, "ablation": {"cells": None}}
    assert expand(tree) == tree


@pytest.mark.parametrize("wrong", [3, [1], None])
def test_what_is_no_mapping_is_left_to_the_check(wrong: Any) -> None:
    tree = {"estimators": {}, "grpo": wrong, "lab": wrong, "ablation": wrong}
    assert expand(tree) == {"grpo": wrong, "lab": wrong, "ablation": wrong}


@pytest.mark.parametrize(
    ("old", "new"),
    [names for names in RENAMED.items() if names[1].startswith(("estimators.", "objectives."))],
)
def test_every_moved_option_has_a_label_in_its_new_place(old: str, new: str) -> None:
    _, kind, name = old.split(".")
    assert refusal(grpo={kind: {name: {}}}) == f"{old}: was renamed to {new}"
    grpo = parameters(grpo={"estimator": "monte_carlo", kind: name}).grpo
    assert getattr(grpo, kind).name == name


def test_options_where_an_earlier_version_had_them_are_pointed_to_their_new_place() -> None:
    text = refusal(grpo={"estimator": {"coupled": {"pairs": 2}}})
    assert text == "grpo.estimator.coupled: was renamed to estimators.coupled"
    text = refusal(grpo={"objective": {"name": "espo", "espo": {"beta": 0.0}}})
    assert text == "grpo.objective.espo: was renamed to objectives.espo"
    text = refusal(lab={"variants": {"coupled": {"name": "coupled", "options": {}}}})
    assert "lab.variants: was renamed to lab.estimators" in text
    # A name alone stays possible: its options are the defaults.
    found = parameters(grpo={"estimator": {"name": "monte_carlo"}})
    assert found.grpo.estimator.draws == 3


def test_tables_call_labels_by_words() -> None:
    assert reported_name("coupled_without_full_view") == "coupled without full view"


class TestOfTheUsersOwn:
    def test_a_class_is_named_by_its_import_path(self) -> None:
        found = parameters(
            estimators={"mine": {"name": "custom_estimator.Combs", "teeth": 4}},
            objectives={"mine": {"name": "custom_objective.Reinforce"}},
            grpo={"estimator": "mine", "objective": "mine"},
        )
        # What is not given has the defaults of the class, so that a record of a run has it.
        assert found.grpo.objective.model_dump() == {
            "name": "custom_objective.Reinforce",
            "scale": 1.0,
        }
        estimator = estimators.make(found.grpo.estimator, mask_token_id=5)
        assert estimator.forwards == estimator.options.teeth == 4
        assert objectives.make(found.grpo.objective).options.scale == 1.0

    def test_a_path_may_stand_in_place_of_a_label(self) -> None:
        grpo = parameters(grpo={"estimator": "custom_estimator.Plain"}).grpo
        assert estimators.make(grpo.estimator, mask_token_id=5).forwards == 2
        assert estimators.make("custom_estimator.Plain", mask_token_id=5).forwards == 2

    def test_one_may_derive_from_one_that_the_project_brings(self) -> None:
        coupled = {"name": "diffucoder.rl.estimators.coupled.Coupled", "pairs": 3}
        grpo = parameters(estimators={"mine": coupled}, grpo={"estimator": "mine"}).grpo
        assert estimators.make(grpo.estimator, mask_token_id=5).forwards == 7

    def test_it_says_itself_whether_it_goes_with_an_estimator(self) -> None:
        text = refusal(grpo={"objective": "custom_objective.OfTheElbo"})
        assert "custom_objective.OfTheElbo cannot go with estimator coupled with full_view" in text
        text = refusal(grpo={"objective": "spg", "estimator": "custom_estimator.Combs"})
        assert "objective spg cannot go with estimator custom_estimator.Combs:" in text
        parameters(
            grpo={"objective": "custom_objective.OfTheElbo", "estimator": "monte_carlo"},
        )

    def test_a_name_of_nothing_is_refused_by_the_function_as_well(self) -> None:
        with pytest.raises(BadParameters, match=r"'no_such_module.Mine': estimator .* imported"):
            estimators.make("no_such_module.Mine", mask_token_id=5)
        with pytest.raises(BadParameters, match=r"custom_estimator.Combs is no objective"):
            objectives.make("custom_estimator.Combs")

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"name": "no_such_module.Mine"}, "estimator 'no_such_module.Mine' cannot be imported"),
            ({"name": "custom_estimator.Missing"}, "cannot be imported"),
            (
                {"name": "custom_estimator.NoEstimator"},
                "custom_estimator.NoEstimator is no estimator",
            ),
            ({"name": "custom_objective.Reinforce"}, "custom_objective.Reinforce is no estimator"),
            (
                {"name": "custom_estimator.Combs", "tooth": 2},
                "options of custom_estimator.Combs: tooth: Extra inputs are not permitted",
            ),
            (
                {"name": "custom_estimator.Combs", "teeth": 0},
                "teeth: Input should be greater than or equal to 1",
            ),
        ],
    )
    def test_mistakes_are_told_in_one_line_before_anything_runs(
        self, given: dict[str, Any], message: str
    ) -> None:
        text = refusal(estimators={"mine": given})
        assert message in text and len(text.splitlines()) == 2
