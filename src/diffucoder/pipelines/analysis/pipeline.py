"""The graph of analysis."""

from dataclasses import fields

from kedro.pipeline import Node, Pipeline

from diffucoder.config.checkpoints import CHECKPOINTS
from diffucoder.pipelines.analysis import nodes
from diffucoder.report.inputs import FIGURES, RunTables

TRAINED = ("backbone", "adaptation", "instruction", "grpo")


def create_pipeline() -> Pipeline:
    """The sweep decodes; everything after it only reads tables."""
    report_inputs = [field.name for field in fields(RunTables)] + list(FIGURES.values())
    measured = ("pass_at_k", "temperature_pass_at_k", "autoregressiveness")
    return Pipeline(
        [
            Node(
                nodes.sweep_temperature,
                {
                    "problems": "problems",
                    "analysis": "params:analysis",
                    "seed": "params:seed",
                    **{name: name for name in CHECKPOINTS},
                },
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
                {
                    **{name: name for name in measured},
                    **{stage: f"{stage}_metrics" for stage in TRAINED},
                },
                FIGURES,
                name="plot_figures",
            ),
            Node(
                nodes.write_report,
                {
                    "parameters": "parameters",
                    "studies": "studies",
                    **{name: name for name in report_inputs},
                },
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
