"""The graph of the grpo stage."""

from kedro.pipeline import Node, Pipeline

from diffucoder.pipelines.grpo.nodes import improve


def create_pipeline() -> Pipeline:
    """One node: the checkpoint, its metrics and the rollouts."""
    return Pipeline(
        [
            Node(
                improve,
                inputs=["params:grpo", "params:seed", "instruct", "problems"],
                outputs=["grpo", "grpo_metrics", "rollouts"],
                name="improve",
                tags=["training"],
            )
        ]
    )
