"""Log-probabilities and rankings, against what a plain softmax over everything that was read says."""

import itertools
import tracemalloc

import numpy as np
import pytest

from numpylm import GPT, CharTokenizer, DataParallel, GPTConfig, Llama, LlamaConfig, Tokenizer
from numpylm.cli.main import main
from numpylm.files.checkpoint import save_checkpoint
from numpylm.inference import scoring
from numpylm.text.any_tokenizer import common_prefix
from numpylm.training.evaluation import evaluate

RNG = np.random.default_rng(0)


def strong(V=7, block_size=6, dtype=np.float64):
    """Large weights: probabilities depend clearly on all that is read, and on where it stands."""
    gpt = GPT(GPTConfig(V, block_size, 2, 2, 8), np.random.default_rng(0), dtype)
    rng = np.random.default_rng(1)
    for p in gpt.parameters():
        p.data += (0.4 * rng.standard_normal(p.shape)).astype(dtype)
    return gpt


def plain(gpt, context, token):
    """log p(token | context) as the formula has it."""
    z = gpt.forward(np.array([context]))[0][0, -1]
    return z[token] - np.log(np.exp(z).sum())


@pytest.fixture(scope="module")
def tok():
    return Tokenizer.train("low lower lowest slow slower is blue is green " * 4, 285)


@pytest.fixture(scope="module")
def gpt(tok):
    gpt = strong(tok.vocab_size, 24)
    gpt.tokenizer = tok
    return gpt


# --------------------------------------------------------------------------------------------- tokens


def test_each_token_given_all_before_it():
    gpt, ids = strong(), RNG.integers(0, 7, 7)
    values = gpt.log_prob(ids)
    assert values.dtype == np.float64
    np.testing.assert_allclose(values, [plain(gpt, ids[:t], ids[t]) for t in range(1, 7)], atol=1e-12)
    assert -values.mean() == pytest.approx(gpt.loss(ids[None, :-1], ids[None, 1:]), abs=1e-12)
    np.testing.assert_array_equal(gpt.log_prob(ids.tolist()), values)
    np.testing.assert_array_equal(gpt.log_prob(ids.astype(np.uint16)), values)
    assert gpt.log_prob([3]).shape == (0,)


@pytest.mark.parametrize("length", [1, 2])
def test_probabilities_of_everything_that_may_follow_sum_to_one(length):
    gpt = strong()
    total = sum(np.exp(gpt.log_prob([2, 5, *more])[1:].sum()) for more in itertools.product(range(7), repeat=length))
    assert total == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("block_size", [1, 2, 5, 8])
@pytest.mark.parametrize("length", [8, 9, 10, 61])
def test_a_long_text_counts_each_token_once_with_at_least_half_a_window_before_it(block_size, length):
    gpt, ids = strong(block_size=block_size), RNG.integers(0, 7, length)
    step = block_size - block_size // 2
    expected = []
    for t in range(1, length):
        begin = max(0, -(-(t - block_size) // step)) * step
        assert t <= block_size or t - begin >= max(1, block_size // 2)
        expected.append(plain(gpt, ids[begin:t], ids[t]))
    np.testing.assert_allclose(gpt.log_prob(ids), expected, atol=1e-11)


def test_logits_are_held_in_pieces(monkeypatch):
    gpt, ids = strong(), RNG.integers(0, 7, 60)
    whole, sizes, head = gpt.log_prob(ids), [], gpt.head
    monkeypatch.setattr(scoring, "LOGITS_AT_ONCE", 3 * 7 + 1)
    monkeypatch.setattr(gpt, "head", lambda x: sizes.append(len(x)) or head(x))
    np.testing.assert_allclose(gpt.log_prob(ids), whole, atol=1e-12)
    assert max(sizes) == 3
    assert sum(sizes) == 59  # and none for what windows read twice


@pytest.mark.slow
def test_memory_stays_small_for_gpt2s_vocabulary():
    """All logits of these texts would take 206 MB and 824 MB; a second buffer of them would double that."""
    gpt = GPT(GPTConfig(50257, 1024, 1, 1, 4), np.random.default_rng(0))
    ids = RNG.integers(0, 50257, 4097)
    for work in (lambda: gpt.log_prob(ids[:1025]), lambda: evaluate(gpt, ids, batch_size=4)):
        tracemalloc.start()
        work()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 100e6


def test_log_probabilities_far_from_zero_are_numbers():
    gpt = strong(dtype=np.float32)
    gpt.ln_f.weight.data *= 3000
    ids = np.arange(7)
    z = gpt.forward(ids[None, :-1])[0][0].astype(np.float64)
    low = z[np.arange(6), ids[1:]] - z.max(axis=-1)
    assert low.min() < -1000  # exp of which is 0
    np.testing.assert_allclose(gpt.log_prob(ids), low, atol=1)


def test_a_text_begins_with_the_end_of_text_token(gpt, tok):
    ids = [tok.end_id, *tok.encode("slow is low")]
    values = gpt.log_prob("slow is low")
    assert len(values) == len(ids) - 1
    np.testing.assert_array_equal(values, gpt.log_prob(ids))
    assert gpt.log_prob("").shape == (0,)
    other = Tokenizer.train("slow is low", 257)
    np.testing.assert_array_equal(gpt.log_prob("slow", other), gpt.log_prob([other.end_id, *other.encode("slow")]))


def test_without_an_end_of_text_token_the_first_has_nothing_before_it():
    gpt, chars = strong(), CharTokenizer("abcdefg")
    assert len(gpt.log_prob("badge", chars)) == 4
    with pytest.raises(ValueError, match="no token to begin with"):
        gpt.log_prob("", chars)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([], "no token to begin with"),
        ([[1, 2]], r"ids of shape \(T,\), got int64 \(1, 2\)"),
        ([1.0, 2.0], "integer ids"),
        ([1, 7], "token id 7 is outside this model's vocabulary of 7"),
        ([-1, 1], "token id -1 is outside"),
        ("abc", "needs a tokenizer"),
    ],
)
def test_what_cannot_be_scored_is_explained(ids, message):
    gpt = strong()
    gpt.tokenizer = None
    with pytest.raises(ValueError, match=message):
        gpt.log_prob(ids)


def test_a_model_that_has_diverged_is_explained(tok):
    gpt = strong(tok.vocab_size)
    gpt.ln_f.weight.data[:] = np.nan
    with pytest.raises(ValueError, match="diverged"):
        gpt.log_prob([1, 2])
    with pytest.raises(ValueError, match="diverged"):
        gpt.rank("low", [" is"], tok)


# ------------------------------------------------------------------------------------------ a whole text


def test_evaluation_scores_each_counted_token():
    gpt, ids = strong(), RNG.integers(0, 7, 40)
    counted = RNG.random(40) < 0.7
    score = evaluate(gpt, ids, 2, block_size=5, counted=counted)
    expected = [(t, ids[(t - 1) // 5 * 5 : t]) for t in range(1, 40) if counted[t]]
    assert score.count == len(expected)
    assert score.loss == pytest.approx(-np.mean([plain(gpt, c, ids[t]) for t, c in expected]), abs=1e-12)
    likeliest = [gpt.forward(c[None])[0][0, -1].argmax() == ids[t] for t, c in expected]
    assert score.accuracy == pytest.approx(np.mean(likeliest), abs=1e-12)
    assert 0 < score.accuracy < 1


def test_evaluation_does_not_depend_on_the_batch_size_or_the_workers():
    gpt, ids = strong(), RNG.integers(0, 7, 100)
    losses = [evaluate(gpt, ids, batch_size).loss for batch_size in (None, 1, 7)]
    losses += [evaluate(gpt, ids, 1, workers=DataParallel(gpt, workers)).loss for workers in (2, 3)]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-12)


def test_a_stride_gives_tokens_more_context():
    gpt, ids = strong(), RNG.integers(0, 7, 50)
    assert evaluate(gpt, ids, stride=3).loss == pytest.approx(-gpt.log_prob(ids).mean(), abs=1e-12)
    most = [plain(gpt, ids[max(0, t - 6) : t], ids[t]) for t in range(1, 50)]
    assert evaluate(gpt, ids, stride=1).loss == pytest.approx(-np.mean(most), abs=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block_size": 7}, "block_size must be 1 to 6"),
        ({"block_size": 0}, "block_size must be 1 to 6"),
        ({"stride": 0}, "stride must be 1 to 6"),
        ({"stride": 5, "block_size": 4}, "stride must be 1 to 4"),
        ({"counted": np.zeros(9, bool)}, "nothing to predict"),
    ],
)
def test_impossible_evaluations_are_explained(options, message):
    with pytest.raises(ValueError, match=message):
        evaluate(strong(), RNG.integers(0, 7, 9), **options)


# --------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("per_token", [False, True])
def test_ranking_is_that_of_the_formula(gpt, tok, per_token):
    answers = [" blue", " is slow", " low", " green slower lowest", " is"]
    ranked = gpt.rank("slow is", answers, per_token=per_token)
    start = [tok.end_id, *tok.encode("slow is")]
    expected = {}
    for answer in answers:
        ids = tok.encode(answer)
        expected[answer] = [plain(gpt, start + ids[:t], ids[t]) for t in range(len(ids))]
    scores = {answer: np.mean(values) if per_token else np.sum(values) for answer, values in expected.items()}
    total = sum(np.exp(list(scores.values())))
    assert [r.answer for r in ranked] == sorted(answers, key=scores.__getitem__, reverse=True)
    for r in ranked:
        assert r.log_prob == pytest.approx(np.sum(expected[r.answer]), abs=1e-10)
        assert r.per_token == pytest.approx(np.mean(expected[r.answer]), abs=1e-10)
        assert r.count == len(expected[r.answer])
        assert r.probability == pytest.approx(np.exp(scores[r.answer]) / total, abs=1e-12)


def test_length_matters_to_the_sum_and_not_to_the_mean():
    gpt, chars = strong(), CharTokenizer("abcdefg")
    gpt.wte.weight.data[:] = 0  # every token has probability 1/7
    long, short = gpt.rank("a", ["bcd", "e"], chars, per_token=True)
    assert (long.probability, short.probability) == (pytest.approx(0.5), pytest.approx(0.5))
    assert [r.answer for r in gpt.rank("a", ["bcd", "e"], chars)] == ["e", "bcd"]


def test_all_answers_are_scored_from_the_same_place(gpt, tok):
    """Neither "is " nor "slow" is how all of its answers begin in tokens; whole texts say what the truth is."""
    assert tok.encode("slower")[: len(tok.encode("slow"))] != tok.encode("slow")
    assert tok.encode("is blue")[:2] != tok.encode("is ")[:2]
    for prompt, answers in [("is ", ["blue", "7", " green"]), ("slow", [" is", "er", "!"]), ("", ["low", "slow"])]:
        ranked = gpt.rank(prompt, answers)
        whole = [gpt.log_prob(prompt + r.answer).sum() for r in ranked]
        assert whole == sorted(whole, reverse=True)
        np.testing.assert_allclose([r.probability for r in ranked], np.exp(whole) / np.exp(whole).sum(), atol=1e-12)


def test_a_prompt_and_an_answer_may_fill_the_window(tok):
    gpt = strong(tok.vocab_size, 6)
    prompt, answer = "!!!", "???"  # 1 + 3 + 3 tokens: the last is not read
    (ranked,) = gpt.rank(prompt, [answer], tok)
    assert ranked.log_prob == pytest.approx(gpt.log_prob(prompt + answer, tok)[3:].sum(), abs=1e-10)
    assert ranked.probability == 1
    with pytest.raises(ValueError, match=r"answer '\?\?\?\?' has 8 tokens; .* window of 6"):
        gpt.rank(prompt, [answer, "????"], tok)


@pytest.mark.parametrize(
    ("prompt", "answers", "message"),
    [
        ("low", [], "no answers"),
        ("low", "is", "list of texts"),
        ("low", [" is", ""], "an answer is empty"),
        ("low", [" is", " a", " is"], "' is' is given twice"),
    ],
)
def test_impossible_rankings_are_explained(gpt, prompt, answers, message):
    with pytest.raises(ValueError, match=message):
        gpt.rank(prompt, answers)


def test_a_first_token_needs_something_before_it():
    with pytest.raises(ValueError, match="there is no token before the answers"):
        strong().rank("", ["a", "b"], CharTokenizer("abcdefg"))


def test_common_prefix():
    texts = [np.array(ids) for ids in ([1, 2, 3], [1, 2, 4, 5], [1, 2])]
    assert common_prefix(texts) == common_prefix(texts[:2]) == 2
    assert common_prefix([*texts, np.array([3])]) == 0
    assert common_prefix(texts[:1]) == 3


# -------------------------------------------------------------------------------------------- commands


@pytest.fixture
def run(gpt, tok, tmp_path):
    save_checkpoint(tmp_path / "best.npz", gpt)
    tok.save(tmp_path)
    (tmp_path / "text.txt").write_text("slow is blue\n<|endoftext|>\n" * 3 + "low is green " * 40, encoding="utf-8")
    return tmp_path


def test_the_command_prints_a_table(gpt, run, capsys):
    assert main(["rank", str(run), "--prompt", "slow is", "--answers", " blue", " low\n", " is slow"]) == 0
    out, err = capsys.readouterr()
    ranked = gpt.rank("slow is", [" blue", " low\n", " is slow"])
    assert err == ""
    lines = out.splitlines()
    assert len(lines) == 4
    for line, r in zip(lines[1:], ranked, strict=True):
        quoted = '"' + r.answer.replace("\n", "\\n") + '"'
        assert line.startswith(quoted)
        assert line[len(quoted) :].split() == [
            str(r.count),
            f"{r.log_prob:.3f}",
            f"{r.per_token:.3f}",
            f"{r.probability:.2%}",
        ]


def test_an_answer_that_runs_into_the_prompt_is_noticed(run, capsys):
    assert main(["rank", str(run), "--prompt", "slow is", "--answers", "blue", " low"]) == 0
    assert "begin it with a space" in capsys.readouterr().err


def test_evaluate_takes_windows_and_strides(gpt, tok, run, capsys):
    losses = []
    for more in ([], ["--block-size", "8"], ["--block-size", "8", "--stride", "2"], ["--batch-size", "1"]):
        assert main(["evaluate", str(run), "--data", str(run / "text.txt"), *more]) == 0
        losses.append(capsys.readouterr().out.split("loss")[1].split()[0])
    assert losses[0] == losses[3]
    assert len(set(losses)) == 3


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["rank", "RUN", "--answers", "a", "a"], "'a' is given twice"),
        (["evaluate", "RUN", "--data", "RUN/text.txt", "--stride", "0"], "stride must be 1 to 24"),
        (["evaluate", "RUN", "--data", "RUN/text.txt", "--block-size", "25"], "block_size must be 1 to 24"),
        (["evaluate", "RUN", "--data", "RUN/text.txt", "--batch-size", "0"], "--batch-size must be at least 1"),
    ],
)
def test_mistakes_get_one_line(run, capsys, argv, message):
    assert main([word.replace("RUN", str(run)) for word in argv]) == 1
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("kind", ["gpt", "llama"])
def test_a_long_text_that_is_read_in_pieces_has_the_same_numbers(kind, monkeypatch):
    rng = np.random.default_rng(0)
    if kind == "gpt":
        model = GPT(GPTConfig(11, 40, 2, 2, 8), rng, np.float64)
    else:
        model = Llama(LlamaConfig(11, 40, 2, 4, 8, n_kv_head=2), rng, np.float64)
    ids = rng.integers(0, 11, 40)
    whole = model.log_prob(ids)
    monkeypatch.setattr("numpylm.inference.scoring.PIECE", 7)
    np.testing.assert_allclose(model.log_prob(ids), whole, atol=1e-12)
