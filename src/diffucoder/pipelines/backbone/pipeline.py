"""The graph of the backbone stage."""

from kedro.pipeline import Node, Pipeline

from diffucoder.pipelines.backbone.nodes import make_backbone


def create_pipeline() -> Pipeline:
    """One node: the checkpoint and its metrics."""
    return Pipeline(
        [
            Node(
                make_backbone,
                inputs=["params:backbone", "params:seed", "tokenizer", "token_shards"],
                outputs=["backbone", "backbone_metrics"],
                name="make_backbone",
                tags=["training"],
            )
        ]
    )
