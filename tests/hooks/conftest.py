"""A whole Kedro project of two stages in a temporary folder, with the project's own hooks."""

import itertools
import json
import logging
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kedro.framework import project as framework
from kedro.framework.startup import bootstrap_project

NUMBERS = itertools.count()
ROOT = Path(__file__).parents[2]

FILES = {
    "pyproject.toml": """
        [tool.kedro]
        package_name = "PACKAGE"
        project_name = "PACKAGE"
        kedro_init_version = "1.7.0"
        source_dir = "src"
    """,
    "src/PACKAGE/__init__.py": "",
    "src/PACKAGE/params.py": """
        from diffucoder.config.base import Params

        class First(Params):
            size: int
            folder: str

        class Second(Params):
            factor: float

        class Parameters(Params):
            seed: int
            first: First
            second: Second
    """,
    "src/PACKAGE/settings.py": """
        from diffucoder.hooks.inputs import InputsHook
        from diffucoder.hooks.parameters import ParametersHook
        from diffucoder.hooks.provenance import ProvenanceHook
        from diffucoder.hooks.usage import UsageHook
        from diffucoder.settings import *
        from diffucoder.tracking.hook import TrackingHook
        from PACKAGE.params import Parameters

        HOOKS = (
            ParametersHook(Parameters),
            InputsHook(),
            ProvenanceHook(Parameters),
            UsageHook(),
            TrackingHook(),
        )
    """,
    "src/PACKAGE/pipeline_registry.py": """
        from kedro.pipeline import Pipeline
        from PACKAGE.pipelines.first import pipeline as first
        from PACKAGE.pipelines.second import pipeline as second

        def register_pipelines():
            stages = {
                name: Pipeline(
                    module.create_pipeline(), namespace=name, prefix_datasets_with_namespace=False
                )
                for name, module in (("first", first), ("second", second))
            }
            return stages | {"__default__": sum(stages.values())}
    """,
    "src/PACKAGE/pipelines/__init__.py": "",
    "src/PACKAGE/pipelines/first/__init__.py": "",
    "src/PACKAGE/pipelines/first/pipeline.py": """
        from kedro.pipeline import Node, Pipeline
        from PACKAGE.pipelines.first.nodes import make

        def create_pipeline():
            return Pipeline([Node(make, ["params:first", "params:seed"], "table", name="make")])
    """,
    "src/PACKAGE/pipelines/first/nodes.py": """
        from PACKAGE.params import First

        def make(first: First, seed: int) -> list:
            return [seed] * first.size
    """,
    "src/PACKAGE/pipelines/second/__init__.py": "",
    "src/PACKAGE/pipelines/second/pipeline.py": """
        from kedro.pipeline import Node, Pipeline
        from PACKAGE.pipelines.second.nodes import scale, summarise

        def create_pipeline():
            return Pipeline([
                Node(scale, ["table", "params:second"], "scaled", name="scale"),
                Node(summarise, "scaled", "summary", name="summarise"),
            ])
    """,
    "src/PACKAGE/pipelines/second/nodes.py": """
        import os
        import time
        from pathlib import Path

        from PACKAGE.params import Second

        def scale(table: list, second: Second) -> list:
            if second.factor < 0:
                raise RuntimeError("a negative factor breaks this node")
            if second.factor == 0:
                Path(os.environ["STARTED"]).touch()
                time.sleep(60)
            return [value * second.factor for value in table]

        def summarise(scaled: list) -> dict:
            return {"total": sum(scaled)}
    """,
    "conf/base/parameters.yml": """
        seed: 3
        first: {size: 2, folder: corpus/code}
        second: {factor: 2.0}
    """,
    "conf/base/catalog.yml": """
        table: {type: json.JSONDataset, filepath: "${globals:data}/table.json"}
        scaled: {type: json.JSONDataset, filepath: "${globals:data}/scaled.json"}
        summary: {type: json.JSONDataset, filepath: "${globals:data}/08_reporting/summary.json"}
    """,
    "conf/base/globals.yml": "data: data",
    "conf/test/parameters.yml": "second: {factor: 3.0}",
    "conf/local/.gitkeep": "",
    "corpus/code/a.py": "x = 1",
    ".telemetry": "consent: false",
}


@pytest.fixture(scope="session")
def tracking_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One SQLite store for all tests: making its tables takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


class Project:
    """A project folder and what tests do with it."""

    def __init__(self, root: Path, package: str) -> None:
        self.root, self.package = root, package

    def run(
        self, env: str | None = None, params: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """`kedro run` in this process."""
        if self.package != framework.PACKAGE_NAME:
            # Once a project: it takes longer than the runs.
            bootstrap_project(self.root)
        with framework.settings.SESSION_CLASS.create(
            project_path=self.root, env=env, runtime_params=params
        ) as session:
            session.run(**kwargs)

    def edit(self, relative: str, old: str, new: str) -> None:
        """Replace text in a file."""
        path = self.root / relative.replace("PACKAGE", self.package)
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def read(self, name: str) -> Any:
        """A data set's contents."""
        return json.loads((self.root / "data" / name).read_text())

    def written(self, name: str) -> int:
        """When a data set was last written, in ns."""
        return (self.root / "data" / name).stat().st_mtime_ns


@pytest.fixture
def make_project(
    tmp_path: Path, tracking_uri: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Project]:
    """A function that writes a fresh project; each has a package name of its own."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
    monkeypatch.setenv("MLFLOW_ARTIFACT_LOCATION", str(tmp_path / "artifacts"))
    monkeypatch.syspath_prepend(str(ROOT / "src"))

    def make() -> Project:
        package = f"tiny{next(NUMBERS)}"
        root = tmp_path / package
        for name, text in FILES.items():
            path = root / name.replace("PACKAGE", package)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text).replace("PACKAGE", package))
        mlflow = (ROOT / "conf/base/mlflow.yml").read_text()
        (root / "conf/base/mlflow.yml").write_text(
            mlflow.replace("name: diffucoder", f"name: {package}")
        )
        return Project(root, package)

    return make


@pytest.fixture
def project(make_project: Callable[[], Project]) -> Project:
    """One project."""
    return make_project()


@pytest.fixture
def log() -> Iterator[list[logging.LogRecord]]:
    """Records that the hooks log; Kedro configures all other loggers anew for each project."""
    found: list[logging.LogRecord] = []
    logger = logging.getLogger("diffucoder.hooks.provenance")

    def keep(record: logging.LogRecord) -> bool:
        found.append(record)
        return True

    logger.addFilter(keep)
    yield found
    logger.removeFilter(keep)
