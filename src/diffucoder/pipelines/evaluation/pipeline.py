"""The graph of evaluation."""

from kedro.pipeline import Node, Pipeline

from diffucoder.config.checkpoints import CHECKPOINTS
from diffucoder.pipelines.evaluation import nodes


def create_pipeline() -> Pipeline:
    """One node: a single process decodes for every checkpoint and suite in turn."""
    return Pipeline(
        [
            Node(
                nodes.evaluate_checkpoints,
                {
                    "problems": "problems",
                    "evaluation": "params:evaluation",
                    "seed": "params:seed",
                    **{name: name for name in CHECKPOINTS},
                },
                ["completions", "pass_at_k", "evaluation_notes"],
                name="evaluate_checkpoints",
            )
        ]
    )
