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


def register_pipelines() -> dict[str, Pipeline]:
    """Build every stage's pipeline; `__default__` is all of them."""
    pipelines = {
        stage: import_module(f"diffucoder.pipelines.{stage}.pipeline").create_pipeline()
        for stage in STAGES
    }
    return pipelines | {"__default__": sum(pipelines.values(), Pipeline([]))}
