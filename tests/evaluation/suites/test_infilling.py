"""Problems with a hole: the middle is asked for, the whole is judged."""

from typing import Any

from diffucoder.evaluation.assembly import assemble
from diffucoder.evaluation.suites.humaneval import infilling_problem
from diffucoder.sandbox import Sandbox

ROW: dict[str, Any] = {
    "task_id": "SingleLineInfilling/HumanEval/x/L0",
    "entry_point": "quadruple",
    "prompt": 'def quadruple(x):\n    """Four times x."""\n',
    "canonical_solution": "    x = double(x)\n",
    "suffix": "    return double(x)\n\n\ndef double(x):\n    return 2 * x\n",
    "test": "def check(candidate):\n    assert candidate(3) == double(double(3))\n",
}


def test_the_prompt_has_a_hole() -> None:
    problem = infilling_problem(ROW)
    assert problem.prompt == f"{ROW['prompt']}<|mask|>{ROW['suffix']}"
    assert problem.reference == ROW["prompt"] + ROW["canonical_solution"] + ROW["suffix"]


def test_the_middle_is_judged_between_its_neighbours() -> None:
    problem = infilling_problem(ROW)
    middles = ["    x = double(x)\n", "    x += x\n", "    pass\n", "    x = (\n"]
    codes = [assemble(problem.prompt, middle, "infilling") for middle in middles]
    with Sandbox(workers=1) as sandbox:
        verdicts = sandbox.run(problem.program(code or "") for code in codes)
    assert [verdict.status for verdict in verdicts] == ["passed", "passed", "failed", "syntax"]


def test_a_helper_after_the_hole_is_the_judges_own() -> None:
    problem = infilling_problem(ROW)
    forged = "    return 0\ndef double(x):\n    return 0\n"
    code = f"{ROW['prompt']}{forged}"
    with Sandbox(workers=1) as sandbox:
        (verdict,) = sandbox.run([problem.program(code)])
    assert verdict.status == "failed"
