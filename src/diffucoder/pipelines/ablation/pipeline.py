"""The graph of the ablation."""

from kedro.pipeline import Node, Pipeline

from diffucoder.pipelines.ablation import nodes


def create_pipeline() -> Pipeline:
    """Train all cells, ask all of them the held-out problems, compare."""
    return Pipeline(
        [
            Node(
                nodes.train_cells,
                ["params:ablation", "params:grpo", "instruct", "problems"],
                "ablation_curves",
                name="train_cells",
                tags=["training"],
            ),
            Node(
                nodes.ask_cells,
                [
                    "params:ablation",
                    "params:grpo",
                    "params:seed",
                    "instruct",
                    "problems",
                    "ablation_curves",
                ],
                "ablation_passes",
                name="ask_cells",
            ),
            Node(
                nodes.compare_cells,
                ["params:ablation", "params:seed", "ablation_curves", "ablation_passes"],
                ["ablation_summary", "ablation_figure"],
                name="compare_cells",
            ),
        ]
    )
