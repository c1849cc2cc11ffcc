"""Which pipelines there are, in the order in which they feed each other."""

from importlib import import_module

from kedro.pipeline import Pipeline

STAGES = (
    "ingestion",
    "backbone",
    "adaptation",
    "instruction",
    "grpo",
    "evaluation",
    "analysis",
)
# Run by name alone: they ask questions that a run of the chain does not need answered.
STUDIES = ("lab", "ablation")


def register_pipelines() -> dict[str, Pipeline]:
    """Build every pipeline; `__default__` is all stages, without the studies."""
    pipelines = {name: _pipeline(name) for name in (*STAGES, *STUDIES)}
    default = sum((pipelines[stage] for stage in STAGES), Pipeline([]))
    return pipelines | {"__default__": default}


def _pipeline(name: str) -> Pipeline:
    """A stage or study in a namespace of its name, which kedro-viz draws as one box that opens.

    Nodes are then called `grpo.train_grpo`; data sets keep the catalog's names.
    """
    module = import_module(f"diffucoder.pipelines.{name}.pipeline")
    return Pipeline(module.create_pipeline(), namespace=name, prefix_datasets_with_namespace=False)
