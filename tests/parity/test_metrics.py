"""The same figures as scikit-learn, sacrebleu and jiwer, on random data, on difficult signs and on real sentences."""

import gzip
import itertools
from collections import defaultdict

import numpy as np
import pytest

WHY = "pip install -e '.[parity]' to run the parity tests"
sklearn_metrics = pytest.importorskip("sklearn.metrics", reason=WHY)
sacrebleu = pytest.importorskip("sacrebleu", reason=WHY)
jiwer = pytest.importorskip("jiwer", reason=WHY)

from sacrebleu.metrics import BLEU, CHRF  # noqa: E402

from numpylm.metrics import ClassificationReport, bleu, cer, chrf, wer  # noqa: E402
from numpylm.metrics.bleu_tokenizers import TOKENIZERS  # noqa: E402

# ------------------------------------------------------------------------------------------ classification


@pytest.mark.filterwarnings("ignore:A single label was found")
@pytest.mark.parametrize("seed", range(40))
def test_classification_is_that_of_scikit_learn(seed):
    """Few examples of up to 8 labels, so that some labels are only true, only predicted, or neither."""
    rng = np.random.default_rng(seed)
    names = list(range(8)) if seed % 2 else [f"label {n}" for n in range(8)]
    true = [names[i] for i in rng.integers(0, rng.integers(1, 9), 12)]
    predicted = [names[i] for i in rng.integers(0, rng.integers(1, 9), 12)]
    labels = None if seed % 3 else names[::-1]
    report = ClassificationReport.of(true, predicted, labels)
    order = labels or np.unique(true + predicted).tolist()
    assert report.labels == tuple(order)
    np.testing.assert_array_equal(report.confusion, sklearn_metrics.confusion_matrix(true, predicted, labels=order))
    assert report.accuracy == pytest.approx(sklearn_metrics.accuracy_score(true, predicted), abs=1e-12)

    def theirs(average):
        return sklearn_metrics.precision_recall_fscore_support(
            true, predicted, labels=labels, average=average, zero_division=0
        )

    ours = (report.precision, report.recall, report.f1, report.support)
    for mine, expected in zip(ours, theirs(None), strict=True):
        np.testing.assert_allclose(mine, expected, rtol=0, atol=1e-12)
    for name in ("macro", "micro", "weighted"):
        np.testing.assert_allclose(getattr(report, name), theirs(name)[:3], rtol=0, atol=1e-12)


def test_one_class_only_is_that_of_scikit_learn():
    report = ClassificationReport.of(["a"] * 5, ["a"] * 5)
    assert report.confusion.tolist() == [[5]]
    assert report.macro == sklearn_metrics.precision_recall_fscore_support(["a"] * 5, ["a"] * 5, average="macro")[:3]


# ------------------------------------------------------------------------------------------ difficult texts

# What the tokenizers treat specially, and its neighbors: punctuation, numbers, HTML entities, line ends, white space of
# many kinds, the edges of the Chinese ranges, and characters beyond U+FFFF.
PIECES = [
    *"ab .,-059&;<>\n\t'\"(!_/%我好，。”—…éß\u00a0\x85\u3000\u2000\u2a6d\u2a6e😀𠀀İ",
    *["&amp;", "&quot;", "&lt;", "&gt;", "<skipped>", "-\n", "1,000.50", "..", "5.", "the", "The", "cat", "well-known"],
]


def random_text(rng, longest):
    return "".join(rng.choice(PIECES, rng.integers(0, longest + 1)))


def random_unicode(rng, longest):
    points = rng.integers(0, 0x3100 if rng.random() < 0.5 else 0x110000, rng.integers(0, longest + 1))
    return "".join(chr(p) for p in points if not 0xD800 <= p < 0xE000)


def difficult_corpus(seed):
    """Hypotheses and the same number of references for each; some are empty, equal, or contain the hypothesis."""
    rng = np.random.default_rng(seed)
    make = random_unicode if seed % 4 == 0 else random_text
    longest, count = int(rng.choice([2, 8, 30])), int(rng.integers(1, 4))
    hypotheses = [make(rng, longest) for _ in range(rng.integers(1, 7))]
    references = [
        [str(rng.choice([make(rng, longest), h, h + make(rng, longest), h.upper()])) for _ in range(count)]
        for h in hypotheses
    ]
    return hypotheses, references


def streams(references):
    """sacrebleu's form: a list for each translator."""
    return [list(stream) for stream in zip(*references, strict=True)]


def without_version(metric):
    return str(metric.get_signature()).partition("|version:")[0]


def check_bleu(hypotheses, references, tokenize="13a", lowercase=False, smooth="exp"):
    metric = BLEU(tokenize=tokenize, lowercase=lowercase, smooth_method=smooth)
    theirs = metric.corpus_score(hypotheses, streams(references))
    ours = bleu(hypotheses, references, tokenize, lowercase, smooth)
    np.testing.assert_allclose(
        [ours.score, *ours.precisions, ours.brevity_penalty],
        [theirs.score, *theirs.precisions, theirs.bp],
        rtol=0,
        atol=1e-9,
    )
    assert (ours.hypothesis_length, ours.reference_length) == (theirs.sys_len, theirs.ref_len)
    assert ours.signature == without_version(metric)


def check_chrf(hypotheses, references, word_order=0, lowercase=False, **options):
    metric = CHRF(word_order=word_order, lowercase=lowercase, **options)
    theirs = metric.corpus_score(hypotheses, streams(references))
    ours = chrf(hypotheses, references, word_order, lowercase, **options)
    assert ours.score == pytest.approx(theirs.score, rel=0, abs=1e-9)
    assert (ours.name, ours.signature) == (theirs.name, without_version(metric))


def check_error_rates(hypotheses, references):
    """Also the numbers of each kind, which depend on the choice among equally short ways."""
    for ours, theirs, rate in (
        (wer(hypotheses, references), jiwer.process_words(references, hypotheses), "wer"),
        (cer(hypotheses, references), jiwer.process_characters(references, hypotheses), "cer"),
    ):
        assert ours.rate == pytest.approx(getattr(theirs, rate), rel=0, abs=1e-12)
        for name in ("hits", "substitutions", "deletions", "insertions"):
            assert getattr(ours, name) == getattr(theirs, name), (name, hypotheses, references)


@pytest.mark.parametrize("tokenize", TOKENIZERS)
@pytest.mark.parametrize("lowercase", [False, True])
def test_bleu_is_that_of_sacrebleu_on_difficult_texts(tokenize, lowercase):
    for seed in range(60):
        check_bleu(*difficult_corpus(seed), tokenize, lowercase, "none" if seed % 5 == 0 else "exp")


@pytest.mark.parametrize("tokenize", TOKENIZERS)
def test_tokens_are_those_of_sacrebleu_for_every_character(tokenize):
    tokens = BLEU(tokenize=tokenize).tokenizer
    characters = [chr(p) for p in range(0x10000) if not 0xD800 <= p < 0xE000] + ["𠀀", "𪛖", "你", "😀", "\U0010ffff"]
    for beside in ("a", "5", ".", "-"):
        text = beside.join(characters)
        assert TOKENIZERS[tokenize](text) == tokens(text.rstrip()).split()


@pytest.mark.parametrize("word_order", [0, 1, 2])
def test_chrf_is_that_of_sacrebleu_on_difficult_texts(word_order):
    for seed in range(80):
        check_chrf(*difficult_corpus(seed), word_order, seed % 3 == 0, char_order=1 + seed % 7, beta=1 + seed % 3)


def test_sentences_with_different_numbers_of_references_are_those_of_sacrebleu():
    hypotheses, first, second = (
        ["the cat sat on a mat", "a dog"],
        ["the cat sat on it", "the dog"],
        ["a cat sat on a mat"],
    )
    references = [[first[0], second[0]], [first[1]]]
    for metric, ours in ((BLEU(), bleu(hypotheses, references)), (CHRF(), chrf(hypotheses, references))):
        assert ours.score == pytest.approx(metric.corpus_score(hypotheses, [first, [*second, None]]).score, abs=1e-9)
        assert ours.signature == without_version(metric)


def test_error_rates_are_those_of_jiwer_on_difficult_texts():
    for seed in range(200):
        hypotheses, references = difficult_corpus(seed)
        check_error_rates(hypotheses, [first for first, *_ in references])


def test_every_kind_of_error_is_counted_as_in_jiwer_for_all_short_texts():
    texts = ["".join(letters) for n in range(6) for letters in itertools.product("ab", repeat=n)]
    for hypothesis, reference in itertools.product(texts, texts):
        check_error_rates([hypothesis], [reference])


# ------------------------------------------------------------------------------------------ real sentences


def damaged(sentences, seed):
    """What a bad system could write: words are dropped, exchanged with the next one, doubled, or in another case."""
    rng = np.random.default_rng(seed)
    result = []
    for sentence in sentences:
        words = sentence.split(" ")
        for _ in range(rng.integers(0, 6)):
            i, kind = int(rng.integers(0, len(words) + 1)), rng.integers(0, 4)
            old = words[i : i + 2]
            words[i : i + 2] = (old[1:], old[::-1], old + old[:1], [word.swapcase() for word in old])[kind]
        result.append(" ".join(words))
    return result


def test_real_german_captions(shared_data):
    path = shared_data / "multi30k" / "test_2016_flickr.de.gz"
    if not path.is_file():
        pytest.skip(f"no captions of Multi30k at {path}")
    references = gzip.decompress(path.read_bytes()).decode("utf-8").splitlines()[:400]
    hypotheses = damaged(references, seed=0)
    several = list(zip(references, damaged(references, seed=1), strict=True))
    for tokenize, lowercase in (("13a", False), ("13a", True), ("char", False), ("none", False)):
        check_bleu(hypotheses, [[reference] for reference in references], tokenize, lowercase)
    check_bleu(hypotheses, several)
    check_chrf(hypotheses, several)
    check_chrf(hypotheses, several, word_order=2)
    check_error_rates(hypotheses, references)


@pytest.mark.parametrize("count", [1, 2])
def test_real_chinese_sentences_with_several_translations(shared_data, count):
    """Of several Chinese translations of an English sentence, the first is the hypothesis, others are references."""
    path = shared_data / "tatoeba_en_zh" / "cmn.txt"
    if not path.is_file():
        pytest.skip(f"no sentences of Tatoeba at {path}")
    translations = defaultdict(list)
    for line in path.read_text(encoding="utf-8").strip("\n").split("\n"):  # a sentence may contain other line ends
        english, chinese, _ = line.split("\t")
        translations[english].append(chinese)
    groups = [group[: 1 + count] for group in translations.values() if len(group) > count]
    assert len(groups) >= 100
    hypotheses, references = [first for first, *_ in groups], [rest for _, *rest in groups]
    for tokenize in TOKENIZERS:
        check_bleu(hypotheses, references, tokenize)
    check_chrf(hypotheses, references)
    check_chrf(hypotheses, references, word_order=2)
    check_error_rates(hypotheses, [first for first, *_ in references])
