"""The graph of the lab."""

from kedro.pipeline import Node, Pipeline

from diffucoder.pipelines.lab import nodes


def create_pipeline() -> Pipeline:
    """Measure on the checkpoint that the parameters name, then draw."""
    return Pipeline(
        [
            Node(
                nodes.measure_estimators,
                ["params:lab", "params:seed", "problems"],
                ["estimator_noise", "estimator_cost"],
                name="measure_estimators",
            ),
            Node(
                nodes.plot_estimators,
                ["estimator_noise", "params:lab"],
                "estimator_figure",
                name="plot_estimators",
            ),
        ]
    )
