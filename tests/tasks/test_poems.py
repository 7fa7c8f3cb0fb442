"""Poems: reading, the split, fair nats for rare characters, baselines, the report, and the commands on a tiny run."""

import json
import math

import numpy as np
import pytest

from numpylm.cli.main import main
from numpylm.inference.scoring import log_prob
from numpylm.models.configs import GPTConfig
from numpylm.models.gpt import GPT
from numpylm.nn.functional import IGNORE_INDEX
from numpylm.tasks.poem_baselines import CharacterModels
from numpylm.tasks.poem_report import TrainingPoems, with_other_themes
from numpylm.tasks.poem_rows import RareCharacters, poem_nats, poem_row, row_arrays, train_tokenizer
from numpylm.tasks.poems import Poems, split_poems
from numpylm.text.poem import Poem, read_poems, rhyming_places
from numpylm.training.config import make_config
from numpylm.training.train import train

POEMS = [Poem("sea", ("a wave", "by day")), Poem("sky", ("a cloud", "of gray")), Poem("sea", ("a cave", "of clay"))]


@pytest.mark.parametrize("text", ["sea\ta wave / by day\nsky\ta cloud|of gray\n", None])
def test_tables_and_json_hold_the_same_poems(tmp_path, text):
    text = text or json.dumps([{"title": p.theme, "paragraphs": list(p.lines), "author": "x"} for p in POEMS[:2]])
    (tmp_path / "poems").write_text(text, encoding="utf-8")
    assert read_poems([str(tmp_path / "poems")]) == POEMS[:2]


def test_chinese_lines_end_with_clauses(tmp_path):
    text = '[{"title": "花底", "paragraphs": ["紫蕚扶千蘂，黃鬚照萬花。", "忽疑行暮雨，何事入朝霞。"]},'
    text += '{"title": "b", "paragraphs": ["c"]}]'
    (tmp_path / "p.json").write_text(text, encoding="utf-8")
    assert read_poems([str(tmp_path / "p.json")])[0].lines == ("紫蕚扶千蘂", "黃鬚照萬花", "忽疑行暮雨", "何事入朝霞")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sea\ta wave\nno tab here\n", "line 2 of .* has no tab"),
        ('[{"title": "a", "paragraphs": ["b"]},\n{"title": "c"}]', "line 2 of .* lacks paragraphs"),
        ('[{"paragraphs": ["b"]}]', "line 1 of .* lacks title"),
        ('[{"title": "a", "paragraphs": "b"}]', "should be a list of texts, is"),
        ('[{"title": 1, "paragraphs": ["b"]}]', "title of .* should be a text, is 1"),
        ("sea\ta wave\n", "training needs at least 2"),
    ],
)
def test_broken_files_are_refused_with_the_line(tmp_path, text, message):
    (tmp_path / "poems").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_poems([str(tmp_path / "poems")])


def test_no_title_and_no_poem_is_on_both_sides():
    own = [Poem(f"title {n % 80}", (f"line {n % 70}",)) for n in range(100)]
    few = [Poem(f"theme {n % 4}", (f"line {n % 70}",)) for n in range(100)]
    for poems, titled in ((own, True), (few, False)):
        kept, held = split_poems(poems, 0.2, seed=0)
        assert held
        assert not {p.lines for p in kept} & {p.lines for p in held}
        assert bool({p.theme for p in kept} & {p.theme for p in held}) is not titled
        part, held_part = split_poems(poems[:60], 0.2, seed=0)
        assert set(held_part) <= set(held) or not titled
        assert not set(part) & set(held)


def test_the_probabilities_of_all_characters_add_up_to_1_with_the_rare_ones():
    """A model that has never learned the unknown token: its p over the other tokens sums to 1."""
    train_poems, held = [Poem("x", ("aaabbbq",))], [Poem("x", ("abz",))]
    tokenizer = train_tokenizer(train_poems, 2)
    rare = RareCharacters.of(tokenizer, train_poems, held)
    assert (tokenizer.characters, rare.count) == ("\nab", 2)  # the rare ones are q and z
    assert rare.share == pytest.approx(2 / 9)
    assert math.exp(-rare.nats(1, 0)) + rare.count * math.exp(-rare.nats(0, 1)) == pytest.approx(1)


def test_the_nats_of_poems_are_those_of_the_chain_rule():
    tokenizer = train_tokenizer(POEMS, 1)
    model = GPT(GPTConfig(tokenizer.vocab_size, 32, 1, 2, 8), np.random.default_rng(0), np.float64)
    found = poem_nats(model, tokenizer, [poem_row(tokenizer, p) for p in POEMS], RareCharacters(0.0, 0))
    sums = 0.0
    for poem in POEMS:
        ids = [tokenizer.end_id, *tokenizer.encode(f"{poem.theme}\n{poem.text}"), tokenizer.end_id]
        sums -= log_prob(model, ids)[len(poem.theme) + 1 :].sum()
    assert found.loss == pytest.approx(sums, rel=1e-12)
    assert found.characters == sum(len(line) for p in POEMS for line in p.lines)
    assert found.targets == found.characters + 2 * len(POEMS)
    assert found.with_form == pytest.approx(sums / found.characters)


def test_kneser_ney_sums_to_1_and_beats_single_characters():
    poems = [Poem("x", ("abababab", "abab")), Poem("x", ("abcabc",))]
    models = CharacterModels(train_tokenizer(poems, 1), poems, 0)
    outcomes = [*models.known, "□"]
    for before in ("", "a", "b", "never seen"):
        assert sum(models.bigram(before, c) for c in outcomes) == pytest.approx(1)
    assert sum(map(models.unigram, outcomes)) == pytest.approx(1)
    single, double = models.nats(poems)
    assert double < single


def test_form_rhyme_and_copies():
    quatrain = ("The sea is wide", "and blue the day", "we went aside", "along the way")
    judge = TrainingPoems([Poem("sea", quatrain)])
    other = ("One", "two the way", "three", "Four by Day")
    assert judge.judge([other]) == judge.judge([other, other])
    assert (judge.judge([other]).form, judge.judge([other]).rhyme, judge.judge([other]).copied) == (1, 1, 0)
    same_word = ("One", "the day", "two", "one day")
    assert judge.judge([same_word]).rhyme == 0
    assert judge.judge([quatrain[:3]]).form == 0
    assert judge.judge([quatrain]).copied == 1
    chinese = TrainingPoems([Poem("花", ("白日依山盡", "黃河入海流", "欲窮千里目", "更上一層樓"))])
    assert chinese.judge([("五言五言五", "某某某某樓", "五言五言五", "某某某某流")]).rhyme == 1
    assert chinese.judge([("五言五言", "某某某某樓", "五言五言五", "某某某某流")]).form == 0


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("The sea,", "so blue.", "A bee!", "It's you?"), "you"),
        (("白日依山盡", "黃河入海流", "欲窮千里目", "更上一層樓"), "樓"),
        (("a", "b", "c", "d", "e", "f -"), "df"),
        (("a", "b", "c"), ""),
        (("a", "b", "c", "..."), ""),
    ],
)
def test_practice_counts_only_the_words_that_rhyme(lines, words):
    """Fails if the targets are one place off, or if line 2, whose end is free, counts."""
    poem = Poem("theme", lines)
    assert "".join(poem.text[place] for place in rhyming_places(poem)) == words
    tokenizer = train_tokenizer([poem], 1)
    row = poem_row(tokenizer, poem)
    targets = row_arrays([row], rhymes=True)["targets"][0]
    counted = targets != IGNORE_INDEX
    assert tokenizer.decode(targets[counted].tolist()) == words
    np.testing.assert_array_equal(row.targets[counted], targets[counted])


def test_shuffled_themes_are_all_wrong():
    poems = [Poem(f"t{n // 2}", (f"{n}",)) for n in range(8)]
    mixed = with_other_themes(poems, np.random.default_rng(0))
    own = {p.lines: p.theme for p in poems}
    assert sorted(p.lines for p in mixed) == sorted(own)
    assert all(p.theme != own[p.lines] for p in mixed)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("poems")
    rows = [f"{'sea' if n % 2 else 'sky'}\t{'wave' if n % 2 else 'star'} {n} / day {n % 7}\n" for n in range(60)]
    (folder / "p.tsv").write_text("".join(rows), encoding="utf-8")
    shape = {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 32, "max_steps": 60, "learning_rate": 2e-2}
    settings = {"task": "poems", "data": str(folder / "p.tsv"), "out": str(folder / "run"), "check_gradients": False}
    return train(make_config(settings, shape, {"eval_interval": 60, "warmup_steps": 5}), task=Poems)


def test_a_poem_is_written_for_a_typed_theme(run, capsys):
    assert main(["generate", str(run), "--prompt", "sea", "--temperature", "0", "--max-new-tokens", "12"]) == 0
    written = capsys.readouterr().out
    assert written.startswith("sea\nwave")
    assert main(["generate", str(run)]) != 0
    assert "give a theme with --prompt" in capsys.readouterr().err


def test_rank_finds_the_theme_of_a_poem(run, capsys):
    assert main(["rank", str(run), "--prompts", "sky", "sea", "--answers", "wave 3 / day 3"]) == 0
    first = capsys.readouterr().out.splitlines()[1]
    assert first.startswith('"sea"')
    assert main(["rank", str(run), "--prompts", "sky", "sea", "--answers", "a", "b"]) != 0
    assert "compared for one answer" in capsys.readouterr().err


def test_the_report_is_printed_at_the_end(run, tmp_path, capsys):
    (tmp_path / "p.tsv").write_text("sea\twave / day\nsky\tstar / day\nsea\ta / b\n", encoding="utf-8")
    settings = {"task": "poems", "data": str(tmp_path / "p.tsv"), "out": str(tmp_path / "r"), "check_gradients": False}
    settings |= {"init_from": str(run), "max_steps": 1, "sample_tokens": 0}
    train(make_config(settings), task=Poems)
    out = capsys.readouterr().out
    assert all(words in out for words in ("another poem's theme", "even lines rhyme", "Kneser-Ney"))


def test_words_are_refused():
    with pytest.raises(ValueError, match="tokenizer must be char, got bpe"):
        make_config({"task": "poems", "tokenizer": "bpe"})
