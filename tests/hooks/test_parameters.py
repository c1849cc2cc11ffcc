"""Wrong parameters stop a run before any node, and the message says where they are."""

from typing import Any

import pytest

from diffucoder.errors import BadParameters


def test_good_parameters_run(project: Any) -> None:
    project.run()
    assert project.written("scaled.json")


def test_every_mistake_is_listed_with_its_path(project: Any) -> None:
    project.edit("conf/base/parameters.yml", "size: 2", "size: many, sise: 2")
    project.edit("conf/base/parameters.yml", "seed: 3", "")
    with pytest.raises(BadParameters) as raised:
        project.run(pipeline_names=["second"])
    message = str(raised.value)
    assert "3 wrong in the parameters" in message
    assert "first.size: got 'many'; input should be a valid integer" in message
    assert "first.sise: unknown key; did you mean 'size'?" in message
    assert "seed: missing" in message
    assert not (project.root / "data").exists()


def test_overrides_are_checked_too(project: Any) -> None:
    with pytest.raises(BadParameters, match=r"second\.facter: unknown key; did you mean 'factor'"):
        project.run(params={"second": {"facter": 1.0}})


def test_overlay_is_soft(project: Any) -> None:
    project.run(env="test", params={"first": {"size": 1}})
    assert project.read("scaled.json") == [9.0]
