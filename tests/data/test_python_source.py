"""Sources as trees, and the function that tests are about."""

import pytest

from diffucoder.data.python_source import called_function, parse


@pytest.mark.parametrize("code", ["def f(:", "\0", "(" * 10_000, "-" * 100_000 + "1"])
def test_what_is_no_program_has_no_tree(code: str) -> None:
    assert parse(code) is None


@pytest.mark.parametrize(
    ("test", "name"),
    [
        ("assert f(1) == 2", "f"),
        ("assert sorted(g([1])) == list((1,))", "g"),
        ("assert not math.isnan(h(1))", "h"),
        ("assert sum(1, 2) == 3", "sum"),
    ],
)
def test_the_function_under_test_is_found(test: str, name: str) -> None:
    assert called_function([test]) == name


def test_a_solution_tells_which_function_is_meant() -> None:
    tests = ["assert len(g(1)) == 2", "assert f(1) == 2"]
    assert called_function(tests, "class Box: pass\ndef f(x): return x") == "f"
    with pytest.raises(ValueError, match="no test calls"):
        called_function(tests, "def h(x): return x")


def test_tests_that_call_nothing_are_an_error() -> None:
    with pytest.raises(ValueError, match="'assert True' calls no function"):
        called_function(["assert True"])
    with pytest.raises(ValueError, match="there is no test"):
        called_function([])
