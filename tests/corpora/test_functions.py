"""The bundled functions: held-out pairs never occur in training, and the asserts say what the docstrings say."""

import numpy as np
import pytest

from numpylm.corpora import functions
from numpylm.corpora.function_words import KINDS, NUMBERS, TEXT, WORDS


def test_training_shows_each_operation_and_each_filter_but_no_held_out_pair():
    seen, held = functions.combinations(False), functions.combinations(True)
    assert not set(seen) & set(held)
    assert 0.1 < len(held) / (len(seen) + len(held)) < 0.2
    for kind in KINDS:
        for part in (*kind.operations, *kind.filters):
            assert sum(k is kind and part in (operation, some) for k, operation, some in seen) >= 4, part.name
    codes = {problem.code.partition("\n")[2] for problem in functions.problems(2000)}
    assert not codes & {problem.code.partition("\n")[2] for problem in functions.problems(300, held_out=True)}


def test_problems_depend_only_on_the_seed_and_have_asserts_if_held_out():
    assert functions.problems(5, held_out=True)[:3] == functions.problems(3, held_out=True)
    assert functions.problems(3) != functions.problems(3, seed=1)
    assert [len(p.asserts) for p in functions.problems(2) + functions.problems(2, held_out=True)] == [0, 0, 4, 4]


@pytest.mark.parametrize(
    ("kind", "operation", "filter_name", "argument", "result"),
    [
        (NUMBERS, "sum", "odd", [3, 4, -5], -2),
        (NUMBERS, "largest", "negative", [3, 4], None),
        (NUMBERS, "product", "even", [2, 3, 4], 8),
        (NUMBERS, "mean", "positive", [-1, 2, 3], 2.5),
        (NUMBERS, "zero", "odd", [1, 2, 3], [0, 2, 0]),
        (NUMBERS, "positions", "even", [1, 2, 4], [1, 2]),
        (NUMBERS, "last", "even", [1, 2, 4], 4),
        (WORDS, "longest", "palindrome", ["noon", "abc", "level"], "level"),
        (WORDS, "counts", "capital", ["Bob", "bob", "Bob"], {"Bob": 2}),
        (WORDS, "descending", "palindrome", ["aa", "bb", "ab"], ["bb", "aa"]),
        (TEXT, "stars", "digits", "a1b2", "a*b*"),
        (TEXT, "backwards", "letters", "a-bc", "cba"),
        (TEXT, "share", "vowels", "abcd", 0.25),
    ],
)
def test_functions_do_what_their_names_say(kind, operation, filter_name, argument, result):
    (chosen,) = (each for each in kind.operations if each.name == operation)
    (some,) = (each for each in kind.filters if each.name == filter_name)
    made = functions.problem(kind, chosen, some, np.random.default_rng(0))
    names = {}
    exec(made.code, names)
    assert names[made.name](argument) == result
    assert all(line.startswith(f"assert {made.name}(") for line in made.asserts)


def test_all_reference_functions_pass_their_asserts():
    for made in functions.problems(60, held_out=True):
        names = {}
        exec("\n".join([made.code, *made.asserts]), names)


def test_a_body_of_another_operation_fails_the_asserts():
    rng = np.random.default_rng(0)
    by_name = {each.name: each for each in NUMBERS.operations}
    some = NUMBERS.filters[0]
    right, wrong = (functions.problem(NUMBERS, by_name[name], some, rng) for name in ("sum", "largest"))
    names = {}
    exec(wrong.code.replace(wrong.name, right.name), names)
    with pytest.raises(AssertionError):
        exec("\n".join(right.asserts), names)
