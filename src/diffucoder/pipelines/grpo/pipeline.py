"""The graph of the grpo stage."""

from kedro.pipeline import Node, Pipeline

from diffucoder.pipelines.grpo.nodes import train_grpo


def create_pipeline() -> Pipeline:
    """One node: the checkpoint, its metrics and the rollouts."""
    return Pipeline(
        [
            Node(
                train_grpo,
                inputs=["params:grpo", "params:seed", "instruct", "problems"],
                outputs=["grpo", "grpo_metrics", "rollouts"],
                name="train_grpo",
                tags=["training"],
            )
        ]
    )
