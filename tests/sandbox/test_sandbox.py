"""What the sandbox promises, one test for each promise."""

import textwrap
import time
from collections.abc import Iterator

import pytest

from diffucoder.errors import BadData, BadParameters, SandboxUnavailable
from diffucoder.sandbox import Program, Sandbox, Verdict


def run(sandbox: Sandbox, code: str, *tests: str) -> Verdict:
    return sandbox.run([Program(textwrap.dedent(code), tests)])[0]


def test_slow_program_within_its_limit_passes(sandbox: Sandbox) -> None:
    verdict = run(
        sandbox,
        "import time\ndef f(x):\n    time.sleep(0.3)\n    return x",
        *["assert f(1) == 1"] * 3,
    )
    assert verdict.status == "passed"
    assert verdict.seconds >= 0.9


def test_processor_time_of_earlier_tests_is_not_held_against_a_later_one() -> None:
    code = "import time\ndef f(x):\n    end = time.process_time() + 0.7\n"
    code += "    while time.process_time() < end: pass\n    return x"
    with Sandbox(workers=1, cpu_s=1, wall_s=20) as sandbox:
        assert run(sandbox, code, *["assert f(1) == 1"] * 2).passed == (True, True)


def test_sleeper_ends_at_the_wall_clock() -> None:
    with Sandbox(workers=1, cpu_s=1, wall_s=0.5) as sandbox:
        began = time.monotonic()
        verdict = run(sandbox, "import time\ndef f(): time.sleep(60)", "assert f() is None")
        assert verdict.status == "timeout"
        assert time.monotonic() - began < 20
        assert run(sandbox, "def f(): return 1", "assert f() == 1").status == "passed"


def test_tests_that_run_on_are_ended_too() -> None:
    endless = "def f():\n    while True: yield 1"
    with Sandbox(workers=1, cpu_s=1, wall_s=0.5) as sandbox:
        assert run(sandbox, endless, "assert sum(f()) == 1").status == "timeout"
        sleeper = "import time\ndef f(): time.sleep(60)"
        assert run(sandbox, sleeper, "try: f()\nexcept: pass").status == "timeout"
        assert run(sandbox, "def f(): return 1", "assert f() == 1").status == "passed"


def test_answer_that_stalls_the_judge_costs_its_own_test_alone() -> None:
    # One call into C that no signal interrupts: the kernel ends the judge, which is replaced.
    code = "def f(x): return 10 ** 7 if x else 1"
    tests = ["assert f(0) == 1", "assert 3 ** (f(1) * 40) % 7 == 0", "assert f(0) == 1"]
    with Sandbox(workers=1, cpu_s=1, wall_s=0.5) as sandbox:
        verdict = run(sandbox, code, *tests)
        assert verdict.passed == (True, False, True)
        assert verdict.status == "timeout"


def test_given_up_after_so_many_timeouts() -> None:
    with Sandbox(workers=1, cpu_s=1, wall_s=0.3, max_timeouts=1) as sandbox:
        verdict = run(sandbox, "import time\ndef f(x): time.sleep(x)", *["assert f(60)"] * 9)
    assert verdict.status == "timeout"
    assert verdict.passed == (False,) * 9
    assert verdict.seconds < 9 * 60


POISON = """
import builtins, collections, functools, json, math, os, random, re, sys, threading, time
builtins.abs = builtins.sorted = lambda *a: 0
math.sqrt = json.dumps = re.compile = functools.reduce = None
collections.Counter = None
random.random = lambda: 0
sys.setrecursionlimit(200)
sys.path[:] = []
os.environ['LEFT'] = 'behind'
sys.modules['heapq'] = None
def again():
    while True: time.sleep(0.01)
threading.Thread(target=again).start()
def f(): return 0
"""
CLEAN = """
import collections, heapq, json, math, os, random, re, sys, threading
def f():
    return (abs(-1), sorted([2, 1]), math.sqrt(4), json.dumps([1]), sys.getrecursionlimit() > 500,
            dict(collections.Counter('a')), random.random() > 0, set(os.environ),
            threading.active_count(), heapq.nsmallest(1, [2, 1]), 'again' in globals())
"""
CLEAN_TEST = "THREADS = {'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'}\n"
CLEAN_TEST += "assert f() == (1, [1, 2], 2.0, '[1]', True, {'a': 1}, True, THREADS, 1, [1], False)"


def test_no_program_sees_the_one_before_it() -> None:
    with Sandbox(workers=1) as sandbox:
        for _ in range(3):
            assert run(sandbox, POISON, "assert f() == 0").status == "passed"
            assert run(sandbox, CLEAN, CLEAN_TEST).status == "passed"


def test_equal_programs_get_equal_verdicts_in_every_sandbox() -> None:
    code = "import random\ndef f(): return random.random(), list({'a', 'b', 'c', 'd', 'e'})"
    seen = set()
    for _ in range(2):
        with Sandbox(workers=1) as sandbox:
            tests = [f"assert f()[0] < {i / 8}" for i in range(1, 8)]
            tests += [f"assert f()[1][{i}] > 'c'" for i in range(5)]
            seen.add(run(sandbox, code, *tests).passed)
    assert len(seen) == 1


def test_expected_values_never_reach_the_candidate(sandbox: Sandbox) -> None:
    code = """
    seen = []
    class Spy:
        def __getattribute__(self, name):
            return lambda *a: seen.append((name, a)) or self
        def __eq__(self, other): seen.append(other); return True
        def __sub__(self, other): seen.append(other); return 0
        def __contains__(self, other): seen.append(other); return True
    def f(): return Spy()
    def what(): return repr(seen)
    """
    tests = ["assert f() == 4242", "assert abs(f() - 4242) < 1", "assert 4242 in f()"]
    leak = "try: f() == 4242\nexcept TypeError: pass\nassert '4242' not in what()"
    verdict = run(sandbox, code, *tests, leak)
    assert verdict.passed == (False, False, False, True)


def test_candidate_cannot_stand_in_for_the_library(sandbox: Sandbox) -> None:
    code = "class math:\n    isclose = staticmethod(lambda a, b: True)\ndef f(): return 1.0"
    assert run(sandbox, code, "assert math.isclose(f(), 2.0)").status == "failed"


def test_check_source_is_one_test(sandbox: Sandbox) -> None:
    check = "def check(candidate):\n    assert candidate(1) == 2\n    assert candidate(2) == 3"
    codes = ["def f(x): return x + 1", "def f(x): return 2", "def g(x): return x + 1"]
    verdicts = sandbox.run([Program(code, check, "f") for code in codes])
    assert [v.status for v in verdicts] == ["passed", "failed", "error"]
    assert [v.pass_rate for v in verdicts] == [1.0, 0.0, 0.0]
    assert verdicts[2].error_type == "NameError"
    assert sandbox.run([Program(codes[0], check)])[0].status == "passed"


@pytest.mark.parametrize("tests", [["assert f(0) == 0", "assert f(2) == 3"], ["f(5)", "f(0)"]])
def test_executed_lines_are_told_on_request_and_decide_nothing(
    sandbox: Sandbox, tests: list[str]
) -> None:
    code = "import threading\n\ndef f(x):\n    if x:\n        x = x + 1\n    else:\n"
    code += "        t = threading.Thread(target=g); t.start(); t.join()\n    return x\n"
    code += "def g():\n    pass\n"
    code += "def never():\n    return 1\n"
    program = Program(code, tests)
    watched, plain = (sandbox.run([program], executed_lines=on)[0] for on in (True, False))
    assert watched.executed_lines == (1, 3, 4, 5, 7, 8, 9, 10, 11)
    assert plain.executed_lines is None
    assert (watched.status, watched.passed) == (plain.status, plain.passed)


def test_lines_are_known_of_what_did_not_end_well(sandbox: Sandbox) -> None:
    codes = [
        "import os\ndef f():\n    x = 1\n    os._exit(1)\n    x = 2",
        "def f():\n    x = 1\n    while x:\n        x += 1\n    return x",
    ]
    programs = [Program(code, ["assert f()"]) for code in codes]
    with Sandbox(workers=1, cpu_s=1, wall_s=1) as sandbox:
        crashed, endless = sandbox.run(programs, executed_lines=True)
    assert (crashed.status, crashed.executed_lines) == ("crashed", (1, 2, 3, 4))
    assert (endless.status, endless.executed_lines) == ("timeout", (1, 2, 3, 4))


def test_lines_that_do_not_exist_are_not_told(sandbox: Sandbox) -> None:
    code = "import json, os\ndef f():\n    for n in (-1, 0, 2, 9, 10 ** 30, 'x', None, True):\n"
    code += "        b = json.dumps({'line': n}).encode()\n"
    code += "        os.write(3, len(b).to_bytes(4, 'big') + b)\n    return 1"
    (verdict,) = sandbox.run([Program(code, ["assert f() == 1"])], executed_lines=True)
    assert verdict.status == "passed"
    assert verdict.executed_lines == (1, 2, 3, 4, 5, 6)


def test_a_test_cannot_be_made_to_run_what_it_passes_in(sandbox: Sandbox) -> None:
    # The guest has an `eval` of its own; it must never get the judge to use the judge's.
    code = "import os\ndef f(g, text): return g(text) == os.getpid()"
    assert run(sandbox, code, "assert f(eval, '__import__(\"os\").getpid()')").status == "passed"


def test_tests_draw_the_same_numbers_each_time(sandbox: Sandbox) -> None:
    test = "import random\nassert f(random.random()) == 0.8444218515250481"
    assert run(sandbox, "def f(x): return x", test, test).status == "passed"


SYNTAX = {"null byte": "def f(x): return 1\0", "surrogate": "x = '\ud800'", "depth": "(" * 5000}


@pytest.mark.parametrize("name", SYNTAX)
def test_text_that_is_no_program(sandbox: Sandbox, name: str) -> None:
    verdict = sandbox.run([Program(SYNTAX[name], ["assert f(1) == 1"])])[0]
    assert verdict.passed == (False,)
    assert verdict.status in ("syntax", "memory", "error")


def test_verdict_names_error_and_line(sandbox: Sandbox) -> None:
    verdict = run(sandbox, "def f(x):\n    y = 1\n    return y // x", "assert f(0) == 1")
    assert (verdict.status, verdict.error_type, verdict.line) == ("error", "ZeroDivisionError", 3)
    verdict = run(sandbox, "x = 1\ndef f(:\n", "assert f(0) == 1")
    assert (verdict.status, verdict.error_type, verdict.line) == ("syntax", "SyntaxError", 2)


def test_pass_rate_counts_tests(sandbox: Sandbox) -> None:
    tests = ["assert f(1) == 1", "assert f(2) == 3", "assert f(4) == 4", "assert f(]"]
    verdict = run(sandbox, "def f(x): return x", *tests)
    assert verdict.passed == (True, False, True, False)
    assert verdict.pass_rate == 0.5


def test_verdicts_come_in_order_from_a_lazy_source(sandbox: Sandbox) -> None:
    taken = 0

    def programs() -> Iterator[Program]:
        nonlocal taken
        for i in range(60):
            taken += 1
            yield Program(f"def f(): return {i}", ["assert f() % 3 == 0"])

    stream = sandbox.stream(programs())
    first = next(stream)
    assert taken < 30
    assert [v.passed[0] for v in [first, *stream]] == [i % 3 == 0 for i in range(60)]


def test_limits_must_make_sense() -> None:
    with pytest.raises(BadParameters, match="wall_s=0"):
        Sandbox(wall_s=0)
    with pytest.raises(BadParameters, match="landlock"):
        Sandbox(tier="strongest")
    with pytest.raises(BadData, match="without tests"):
        Program("x = 1", [])
    with pytest.raises(SandboxUnavailable, match="with block"):
        Sandbox(workers=1).run([Program("x = 1", ["assert True"])])
