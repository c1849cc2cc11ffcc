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
    pipelines = {
        name: import_module(f"diffucoder.pipelines.{name}.pipeline").create_pipeline()
        for name in (*STAGES, *STUDIES)
    }
    default = sum((pipelines[stage] for stage in STAGES), Pipeline([]))
    return pipelines | {"__default__": default}
