"""The graph of the instruction stage."""

from kedro.pipeline import Node, Pipeline

from diffucoder.pipelines.instruction.nodes import finetune_instruct


def create_pipeline() -> Pipeline:
    """One node: the checkpoint and its metrics."""
    return Pipeline(
        [
            Node(
                finetune_instruct,
                inputs=["params:instruction", "params:seed", "adapted", "tokenized_pairs"],
                outputs=["instruct", "instruction_metrics"],
                name="finetune_instruct",
                tags=["training"],
            )
        ]
    )
