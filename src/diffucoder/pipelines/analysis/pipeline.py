"""The graph of analysis."""

from kedro.pipeline import Node, Pipeline

from diffucoder.pipelines.analysis import nodes

FIGURES = ["losses_figure", "reward_figure", "pass_rate_figure", "temperature_figure", "ar_figure"]


def create_pipeline() -> Pipeline:
    """The sweep decodes; everything after it only reads tables."""
    return Pipeline(
        [
            Node(
                nodes.sweep_temperature,
                ["problems", "adapted", "instruct", "grpo", "params:analysis", "params:seed"],
                ["temperature_completions", "temperature_reveals"],
                name="sweep_temperature",
            ),
            Node(
                nodes.measure_temperature_sweep,
                ["temperature_completions", "params:analysis", "params:seed"],
                ["temperature_pass_at_k", "autoregressiveness"],
                name="measure_temperature_sweep",
            ),
            Node(
                nodes.plot_figures,
                [
                    "backbone_metrics",
                    "adaptation_metrics",
                    "instruction_metrics",
                    "grpo_metrics",
                    "pass_at_k",
                    "temperature_pass_at_k",
                    "autoregressiveness",
                ],
                FIGURES,
                name="plot_figures",
            ),
            Node(
                nodes.write_report,
                [
                    "completions",
                    "pass_at_k",
                    "evaluation_notes",
                    "temperature_completions",
                    "temperature_reveals",
                    "temperature_pass_at_k",
                    "data_report",
                    *FIGURES,
                    "studies",
                    "parameters",
                ],
                "report",
                name="write_report",
            ),
            Node(
                nodes.write_summary,
                ["pass_at_k", "evaluation_notes", "params:seed"],
                "summary",
                name="write_summary",
            ),
        ]
    )
