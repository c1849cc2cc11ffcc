"""The page: its numbers, its safety, and how a real browser takes it."""

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import pytest

from diffucoder.config.evaluation import BootstrapParams
from diffucoder.evaluation import measures
from diffucoder.report import figures, report
from diffucoder.report.inputs import RunTables, Studies
from diffucoder.studies.claims import Measurements, all_claims

KEYS = ["checkpoint", "suite", "decoding", "temperature", "steps"]
SHOW_SCRIPT = "<script>window.shown = 1</script>"

DATA_REPORT = {
    "documents": [
        {
            "step": "read",
            "documents_in": 1200,
            "documents_out": 1100,
            "bytes_in": 9_000_000,
            "bytes_out": 8_500_000,
            "rejected": [{"reason": "not_utf8 <i>", "documents": 100, "bytes": 500_000}],
        }
    ],
    "token_shards": {"rows": 10, "tokens": 1280, "documents": 900},
    "curated_shards": {"rows": 2, "tokens": 256, "documents": 200},
    "problems": {
        "in": 60,
        "out": 50,
        "splits": [
            {"source": "lists", "split": "rl", "count": 20},
            {"source": "dicts", "split": "rl", "count": 30},
        ],
        "rejected": [],
    },
    "pairs": {"in": 9, "out": 8, "flawed": 2, "prompt_tokens": 99, "response_tokens": 77},
}
NOTES = {
    "sandbox_tier": "landlock",
    "skipped": [{"suite": "mbpp", "reason": "mbpp.jsonl is not there"}],
    "excluded": [
        {"checkpoint": "grpo", "suite": "humaneval", "problem_id": "H/1", "reason": "too long"}
    ],
}


Render = Callable[[Studies], str]


@pytest.fixture(scope="module")
def page(render: Render) -> str:
    return render(Studies())


@pytest.fixture(scope="module")
def render(
    completions: pd.DataFrame,
    sweep: pd.DataFrame,
    reveals: pd.DataFrame,
    bootstrap: BootstrapParams,
) -> Render:
    pass_at_k = measures.estimate_pass_at_k(completions, [1], bootstrap, seed=0, keys=KEYS)
    sweep_pass_at_k = measures.estimate_pass_at_k(sweep, [1, 2], bootstrap, seed=0, keys=KEYS)
    order = measures.completion_orders(measures.full_steps(sweep), [1])
    metrics = pd.DataFrame(
        {"step": [1, 1, 2], "name": ["loss", "reward", "loss"], "value": [2.0, 0.5, 1.0]}
    )
    drawn = {
        "losses": figures.losses({"backbone": metrics, "adaptation": metrics}),
        "rewards": figures.rewards(metrics),
        "pass_rates": figures.pass_rates(pass_at_k).update_layout(title=SHOW_SCRIPT),
        "temperatures": figures.temperatures(measures.full_steps(sweep_pass_at_k)),
        "autoregressiveness": figures.autoregressiveness(
            measures.summarise_orders(order, bootstrap, seed=0)
        ),
    }
    tables = RunTables(completions, pass_at_k, NOTES, sweep, reveals, sweep_pass_at_k, DATA_REPORT)
    claims = all_claims([Measurements(completions, sweep, order, 0.2)], bootstrap, seed=0)
    parameters = {"seed": 7, "evaluation": {"sampled": {"top_p": 0.95}, "ks": [1]}}
    return lambda studies: report.render(tables, drawn, studies, claims, parameters)


def text_of(page: str) -> str:
    """The page's text without scripts, styles and markup, one space between words."""
    body = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def test_headline_numbers_are_the_tables(page: str) -> None:
    text = text_of(page)
    assert re.search(r"instruct 50\.0% \d+\.\d% to \d+\.\d%, 10 problems greedy 50\.0%", text)
    assert re.search(r"coupled-GRPO 90\.0% \d+\.\d% to \d+\.\d%, 10 problems greedy 90\.0%", text)


def test_every_section_tells_its_part(page: str) -> None:
    text = text_of(page)
    for part in (
        "+40.0 points [",
        "not_utf8 <i> 100",
        "1,280 tokens of 900 documents",
        "rl 50",
        "MBPP: mbpp.jsonl is not there",
        "HumanEval H/1, coupled-GRPO: too long",
        "4 problems were solved only after coupled-GRPO",
        "1 problem was solved neither before nor after",
        "Step 3 of 3",
        "landlock",
        "evaluation.sampled.top_p 0.95",
        "diffucoder, seed 7",
    ):
        assert part in text, part


def test_studies_are_shown_where_they_were_run(page: str, render: Render) -> None:
    assert 'id="estimators"' not in page and 'id="ablation"' not in page
    noise = {"estimator": "coupled", "forwards_per_call": 3, "forwards": 6, "level": "token"}
    noise |= {"measure": "squared_error", "mean": 0.123456, "low": 0.1, "high": 0.2, "n": 32}
    cost = {"estimator": "coupled", "forwards": 3, "completions": 4}
    cost |= {"seconds": 0.25, "activations_mb": 12.0}
    cell = {"cell": "coupled", "measure": "pass@1 gain", "budget": "equal steps"}
    cell |= {"mean": 0.07, "low": 0.01, "high": 0.13, "seeds": 3}
    lab = {
        "estimator_noise": pd.DataFrame([noise]),
        "estimator_cost": pd.DataFrame([cost]),
        "estimator_figure": go.Figure(),
    }
    shown = text_of(render(Studies(**lab)))
    assert "coupled 6 token squared error 0.123 0.1 to 0.2 32" in shown
    assert "coupled 3 0.25 12 MB" in shown and "Ablation" not in shown
    both = Studies(**lab, ablation_summary=pd.DataFrame([cell]), ablation_figure=go.Figure())
    assert "coupled pass@1 gain equal steps 0.07 0.01 to 0.13 3" in text_of(render(both))


class Elements(HTMLParser):
    """Collects elements, as a browser's parser would see them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_what_models_write_stays_text(page: str) -> None:
    tags = Elements(page).tags
    assert not [name for name, _ in tags if name in ("img", "i", "b")]
    scripts = [attributes for name, attributes in tags if name == "script"]
    # Five figures as data, plotly once, the page's own two.
    assert len(scripts) == 8
    assert 'document.title = "taken over"' in text_of(page)


def test_nothing_points_outside(page: str) -> None:
    links = [
        value
        for _, attributes in Elements(page).tags
        for name, value in attributes.items()
        if name in ("src", "href", "action", "data", "poster")
    ]
    assert links
    assert all(link and link.startswith(("#", "data:")) for link in links)
    assert "default-src 'none'" in page


def test_headline_names_decodings_and_checkpoints(
    completions: pd.DataFrame, bootstrap: BootstrapParams
) -> None:
    pass_at_k = measures.estimate_pass_at_k(completions, [1], bootstrap, seed=0, keys=KEYS)
    found = report.headline(pass_at_k)
    assert set(found) == {"sampled", "greedy"}
    assert set(found["greedy"]) == {"adapted", "instruct", "grpo"}
    assert found["sampled"]["grpo"]["mean"] == pytest.approx(0.9)
    assert found["sampled"]["grpo"]["n"] == 10
    assert json.loads(json.dumps(found)) == found


def test_samples_are_the_first_of_each_kind(completions: pd.DataFrame) -> None:
    counts, chosen = report.sample_problems(completions)
    assert counts == {
        "solved only after coupled-GRPO": 4,
        "solved only before coupled-GRPO": 0,
        "solved before and after": 5,
        "solved neither before nor after": 1,
    }
    assert [sample["id"] for sample in chosen] == ["p1", "p3", "p0", "p2", "p9"]


def test_traces_carry_what_else_a_token_might_have_been(
    sweep: pd.DataFrame, reveals: pd.DataFrame
) -> None:
    first, second = report.traces(sweep, reveals)
    run = first["runs"][0]
    assert [token["step"] for token in run["tokens"]] == [0, 1, 2]
    assert [token["heat"] for token in run["tokens"]] == [0.0, 0.5, 1.0]
    looks = [(token["probability"], token["alternatives"]) for token in run["tokens"]]
    assert looks == [(0.9, [("def", 0.9), ("</code>", 0.1)]), (None, []), (None, [])]
    assert not any(token["alternatives"] for run in second["runs"] for token in run["tokens"])


def test_settings_are_flat_and_complete() -> None:
    nested = {"a": {"b": [1, 2], "c": {}}, "d": None}
    rows = [("stage.a.b", "[1, 2]"), ("stage.a.c", "{}"), ("stage.d", "null")]
    assert report.setting_rows("stage", nested) == rows
    assert report.setting_rows("seed", 0) == [("seed", "0")]


@dataclass(frozen=True)
class Visit:
    """What a browser made of a page: its final DOM, its messages, what it asked others for."""

    dom: str
    console: list[str]
    outside: list[str]


def visit(page: str, folder: Path) -> Visit:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium or google-chrome on PATH: install one to see the report in it")
    file, log = folder / "report.html", folder / "net.json"
    file.write_text(page, encoding="utf-8")
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-sync",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        "--enable-logging=stderr",
        "--virtual-time-budget=5000",
        "--window-size=400,900",
        "--dump-dom",
    ]
    places = [f"--user-data-dir={folder}/user", f"--log-net-log={log}", file.as_uri()]
    done = subprocess.run(
        [browser, *flags, *places], capture_output=True, text=True, timeout=120, check=True
    )
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    # One event a line. What the browser asks for on its own account has no origin.
    lines = log.read_text(encoding="utf-8").splitlines()
    events = [json.loads(line.rstrip(",")) for line in lines if line.startswith('{"params"')]
    asked = [event["params"] for event in events if "initiator" in event["params"]]
    outside = [
        params["url"]
        for params in asked
        if params["url"].startswith("http") and params["initiator"] != "not an origin"
    ]
    return Visit(done.stdout, console, outside)


@pytest.mark.slow
def test_a_browser_shows_it_whole_and_asks_for_nothing(page: str, tmp_path: Path) -> None:
    seen = visit(page, tmp_path)
    assert seen.console == []
    assert seen.outside == []
    assert "<title>diffucoder: report of a run</title>" in seen.dom
    # Each figure was drawn by the page's script, which marks it with its width.
    assert seen.dom.count("data-drawn=") == 5
    assert seen.dom.count('<path class="js-line"') >= 10
    assert seen.dom.count('<input type="range"') == 4


def test_the_browser_would_tell_of_a_request(tmp_path: Path) -> None:
    seen = visit('<!doctype html><img src="http://outside.invalid/x.png">', tmp_path)
    assert seen.outside == ["http://outside.invalid/x.png"]
