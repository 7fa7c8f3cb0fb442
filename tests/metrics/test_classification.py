"""Precision, recall and F1, counted by hand on eight pets, and what must hold for all labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpylm.metrics import ClassificationReport

# Cats: 3, of which 2 are found, and 1 of 3 predicted cats is a dog. Dogs: 3, of which 1 is found, the only one of
# 2 predicted dogs that is right. Both fish are found, and 1 of 3 predicted fish is a dog.
TRUE = ["cat", "cat", "cat", "dog", "dog", "dog", "fish", "fish"]
PREDICTED = ["cat", "cat", "dog", "dog", "cat", "fish", "fish", "fish"]


@pytest.fixture
def report():
    return ClassificationReport.of(TRUE, PREDICTED)


def test_rows_are_true_and_columns_are_predicted(report):
    assert report.labels == ("cat", "dog", "fish")
    assert report.confusion.tolist() == [[2, 1, 0], [1, 1, 1], [0, 0, 2]]
    assert report.confusion.dtype == np.int64


def test_precision_divides_by_predictions_and_recall_by_examples(report):
    np.testing.assert_allclose(report.precision, [2 / 3, 1 / 2, 2 / 3])
    np.testing.assert_allclose(report.recall, [2 / 3, 1 / 3, 1])
    np.testing.assert_allclose(report.f1, [2 / 3, 2 / 5, 4 / 5])  # 2 TP / (2 TP + FP + FN): 4/6, 2/5, 4/5
    assert report.support.tolist() == [3, 3, 2]


def test_averages_weigh_labels_equally_or_by_their_examples(report):
    np.testing.assert_allclose(report.macro, [(4 / 3 + 1 / 2) / 3, 2 / 3, (2 / 3 + 6 / 5) / 3])
    np.testing.assert_allclose(report.weighted, [(2 + 3 / 2 + 4 / 3) / 8, 5 / 8, (2 + 6 / 5 + 8 / 5) / 8])
    np.testing.assert_allclose(report.micro, [5 / 8] * 3)
    assert report.accuracy == 5 / 8


def test_a_quotient_of_zero_and_zero_is_zero():
    report = ClassificationReport.of(["a", "b"], ["a", "a"], labels=["a", "b", "c"])
    assert report.precision.tolist() == [1 / 2, 0, 0]  # b and c were never predicted
    assert report.recall.tolist() == [1, 0, 0]  # c has no examples
    assert report.f1.tolist() == [2 / 3, 0, 0]


def test_the_most_frequent_mistakes_come_first_and_right_answers_are_none():
    report = ClassificationReport.of([1, 1, 2, 2, 2, 3], [2, 2, 3, 1, 2, 3])
    assert report.most_confused(2) == [(1, 2, 2), (2, 1, 1)]
    assert report.most_confused() == [(1, 2, 2), (2, 1, 1), (2, 3, 1)]
    assert ClassificationReport.of([1], [1]).most_confused() == []


def test_the_order_of_given_labels_is_kept_and_numpy_arrays_become_plain_labels():
    report = ClassificationReport.of(np.array([3, 1]), np.array([3, 3]), labels=np.array([3, 2, 1]))
    assert report.confusion.tolist() == [[1, 0, 0], [0, 0, 0], [1, 0, 0]]
    assert repr(report.labels) == "(3, 2, 1)"


pairs = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30)


@given(pairs)
def test_exchanging_true_and_predicted_exchanges_precision_and_recall(examples):
    true, predicted = zip(*examples, strict=True)
    report, other = ClassificationReport.of(true, predicted), ClassificationReport.of(predicted, true)
    assert (report.confusion == other.confusion.T).all()
    np.testing.assert_array_equal(report.precision, other.recall)
    np.testing.assert_allclose(report.f1, other.f1, atol=1e-15)


@given(pairs)
def test_every_example_is_in_one_cell_and_weighted_recall_is_the_accuracy(examples):
    report = ClassificationReport.of(*zip(*examples, strict=True))
    assert report.examples == len(examples) == report.support.sum()
    right = sum(t == p for t, p in examples)
    assert report.accuracy == pytest.approx(right / len(examples))
    assert report.weighted.recall == pytest.approx(report.accuracy)
    assert sum(count for *_, count in report.most_confused(99)) == len(examples) - right


def test_the_table_has_a_row_for_each_label_and_the_averages(report):
    lines = str(report).splitlines()
    assert lines[0].split() == ["precision", "recall", "F1", "support"]
    assert lines[2].split() == ["dog", "0.500", "0.333", "0.400", "3"]
    assert [line.split()[:2] for line in lines[5:8]] == [
        ["macro", "average"],
        ["micro", "average"],
        ["weighted", "average"],
    ]
    assert lines[8].split() == ["accuracy", "0.625"]


def test_the_table_of_77_long_names_stays_aligned_and_at_most_100_wide():
    labels = [f"label_{'x' * 80}_{n}" for n in range(76)] + ["line\nend"]
    lines = str(ClassificationReport.of(labels, labels)).splitlines()
    assert len(lines) == 1 + 77 + 1 + 4
    assert {len(line) for line in lines[:78]} == {100}
    assert len(set(lines[1:78])) == 77  # the shortened names can be told apart
    assert any(line.startswith("line\\nend ") for line in lines)


def test_wide_characters_take_two_columns_of_the_table():
    lines = str(ClassificationReport.of(["体育", "sports"], ["体育", "sports"])).splitlines()
    assert lines[1].index("1.000") == lines[2].index("1.000") + 2


@pytest.mark.parametrize(
    ("true", "predicted", "labels", "message"),
    [
        (["a"], ["a", "b"], None, "got 1 true and 2 predicted"),
        ([], [], None, "there are no examples"),
        (["a"], [1], None, "all labels must be str, or all int, got int and str"),
        (["a"], ["b"], ["a"], "'b' occurs, but is not in labels"),
        (["a"], ["a"], ["a", "a"], "twice"),
    ],
)
def test_bad_input_is_explained(true, predicted, labels, message):
    with pytest.raises(ValueError, match=message):
        ClassificationReport.of(true, predicted, labels)
