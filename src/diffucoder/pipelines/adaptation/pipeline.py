"""The graph of the adaptation stage."""

from kedro.pipeline import Node, Pipeline

from diffucoder.pipelines.adaptation.nodes import adapt_to_diffusion


def create_pipeline() -> Pipeline:
    """One node: the checkpoint and its metrics."""
    return Pipeline(
        [
            Node(
                adapt_to_diffusion,
                inputs=[
                    "params:adaptation",
                    "params:seed",
                    "backbone",
                    "token_shards",
                    "curated_shards",
                ],
                outputs=["adapted", "adaptation_metrics"],
                name="adapt_to_diffusion",
                tags=["training"],
            )
        ]
    )
