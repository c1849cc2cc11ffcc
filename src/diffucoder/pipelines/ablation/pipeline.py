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
                nodes.evaluate_cells,
                [
                    "params:ablation",
                    "params:grpo",
                    "params:seed",
                    "instruct",
                    "problems",
                    "ablation_curves",
                ],
                "ablation_pass_rates",
                name="evaluate_cells",
            ),
            Node(
                nodes.compare_cells,
                ["params:ablation", "params:seed", "ablation_curves", "ablation_pass_rates"],
                ["ablation_summary", "ablation_figure"],
                name="compare_cells",
            ),
        ]
    )
