"""The page that looks inside: its content equals NumPy's numbers, its texts are right, and its size is limited."""

import base64
import json
import re

import numpy as np
import pytest

from numpylm.inference.generation import generate
from numpylm.inference.inside import content as inside
from numpylm.inference.inside.content import LARGEST, check_size, look_inside, size_of
from numpylm.inference.inside.measure import ablations, forward, gradient_times_input, logit_lens
from numpylm.inference.inside.page import look_page
from numpylm.inference.inside.texts import fill_masks
from numpylm.inference.inside.views import batch_of, view_of
from numpylm.inference.log_probs import log_softmax
from numpylm.inference.translate import target_ids, target_text, translate
from tests.inference.inside_models import KINDS, PIECES, of

PROMPTS = {"masked words": "a cat [MASK] on [MASK]"} | dict.fromkeys(
    ("gpt", "llama", "untied llama", "experts"), "a bad cab"
)


def prompt(kind):
    return PROMPTS.get(kind, "a cat sat")


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def floats(text):
    return np.frombuffer(base64.b64decode(text), "<f4")


def whole(text):
    return np.frombuffer(base64.b64decode(text), "<i4")


def test_every_number_is_numpys(kind):
    model = of(kind)
    found, view = look_inside(model, prompt(kind)), view_of(model)
    ids = [stream["ids"] for stream in found["streams"]]
    targets = np.array(found["targets"])
    run = forward(view, [batch_of(part) for part in ids])
    log_p = log_softmax(run.logits).reshape(len(targets), -1)
    best = whole(found["top"]["ids"]).reshape(len(targets), -1)
    np.testing.assert_allclose(
        np.exp(np.take_along_axis(log_p, best, -1)).ravel(), floats(found["top"]["p"]), atol=1e-5
    )
    np.testing.assert_allclose(-log_p[np.arange(len(targets)), targets], floats(found["surprise"]), atol=1e-5)
    np.testing.assert_allclose(-(np.exp(log_p) * log_p).sum(-1), floats(found["entropy"]), atol=1e-5)
    lens, effects, maps = logit_lens(view, run, targets), ablations(view, run, targets), run.attention(view)
    np.testing.assert_allclose(np.exp(lens.target_log_p).ravel(), floats(found["lens"]["targetP"]), atol=1e-5)
    np.testing.assert_array_equal(lens.ids.ravel(), whole(found["lens"]["ids"]))
    for ours, theirs in zip(gradient_times_input(view, ids, targets), found["gradient"], strict=True):
        np.testing.assert_allclose(ours.ravel(), floats(theirs), atol=1e-5)
    for part in found["kinds"]:
        np.testing.assert_allclose(effects[part["name"]].ravel(), floats(part["effect"]), atol=1e-5)
        weights = np.stack([layer[0] for layer in maps[part["name"]]])
        kept = weights[..., *np.tril_indices(weights.shape[-1])] if part["causal"] else weights
        packed = np.frombuffer(base64.b64decode(part["weights"]), "<u2") / 65535
        np.testing.assert_allclose(kept.ravel(), packed, atol=1e-5)


def test_a_language_model_writes_its_most_probable_tokens():
    model = of("gpt")
    found = look_inside(model, "a bad cab", new_tokens=5)
    (stream,) = found["streams"]
    start = found["given"]
    assert stream["ids"][start:] == list(generate(model, stream["ids"][:start], 5, temperature=0))
    assert [step["output"] for step in found["steps"]] == list(range(start - 1, start + 4))
    assert [step["chosen"] for step in found["steps"]] == stream["ids"][start:]
    assert all(step["ids"][0] == step["chosen"] for step in found["steps"])
    assert found["targets"][:-1] == stream["ids"][1:]
    assert found["known"] == [True] * (len(stream["ids"]) - 1) + [False]


def test_masks_are_filled_one_at_a_time_the_most_certain_first():
    view = view_of(of("masked words"))
    mask = PIECES.special_tokens["[MASK]"]
    ids = [PIECES.special_tokens["[CLS]"], mask, *PIECES.encode(" cat"), mask, PIECES.special_tokens["[SEP]"]]
    choices = fill_masks(view, ids, mask)
    places = [n for n, i in enumerate(ids) if i == mask]
    assert sorted(choice.output for choice in choices) == places
    for choice in choices:
        log_p = log_softmax(view.model.forward(batch_of(ids))[0])[0]
        log_p[:, mask] = -np.inf
        hidden = [n for n, i in enumerate(ids) if i == mask]
        assert choice.output == max(hidden, key=lambda n: log_p[n].max())
        assert choice.chosen == log_p[choice.output].argmax() == choice.ids[0]
        ids[choice.output] = choice.chosen


def test_a_space_before_a_mask_belongs_to_the_hidden_token():
    (stream,) = look_inside(of("masked words"), "a cat [MASK] on")["streams"]
    special = PIECES.special_tokens
    body = [*PIECES.encode("a cat"), special["[MASK]"], *PIECES.encode(" on")]
    assert stream["ids"] == [special["[CLS]"], *body, special["[SEP]"]]


def test_a_translation_is_the_greedy_one_or_the_given_one():
    model = of("post-norm")
    found = look_inside(model, "a cat sat")
    target = found["streams"][1]["ids"]
    assert target[0] == model.config.start_id
    assert target[1:] == found["targets"][:-1]
    assert target_text(model.tokenizer, found["targets"]) == translate(model, ["a cat sat"], beam=1)[0]
    given = look_inside(model, "a cat sat", target="the dog")
    assert given["targets"] == target_ids(model.tokenizer, "the dog")
    assert not given["byModel"]
    assert [step["chosen"] for step in given["steps"]] == given["targets"]


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("gpt", {"prompt": ""}, "the prompt is empty"),
        ("gpt", {"prompt": "a" * 25}, "the prompt has 25 tokens, the model reads 24 at most"),
        ("gpt", {"prompt": "abc", "new_tokens": 22}, "together the model reads 24 at most"),
        ("gpt", {"prompt": "abc", "new_tokens": -1}, "--new-tokens must be at least 0"),
        ("gpt", {"prompt": "abc", "target": "x"}, "--target is for a model that translates; this is a GPT"),
        ("masked words", {"prompt": "xy" * 20}, "tokens with its special tokens, the model reads 24 at most"),
        ("post-norm", {"prompt": "xy" * 20}, "the prompt has 41 tokens with its end token"),
        ("post-norm", {"prompt": "a", "target": "xy" * 20}, "the target has 41 tokens with its end token"),
    ],
)
def test_what_cannot_be_looked_at_is_said(kind, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        look_inside(of(kind), **options)


def test_a_model_whose_logits_are_not_finite_is_refused():
    model = of("gpt")
    model.ln_f.weight.data[0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        look_inside(model, "abc", new_tokens=0)


@pytest.mark.parametrize("kind", ["gpt", "masked words", "post-norm"])
def test_the_size_is_foreseen(kind):
    model = of(kind, n_layer=6, n_head=4)
    found = look_inside(model, prompt(kind) + " a" * 4)
    page = look_page("x", found)
    foreseen = size_of(view_of(model), [len(stream["ids"]) for stream in found["streams"]])
    assert 0.8 * len(page.encode()) < foreseen < 2 * len(page.encode())


def test_a_long_text_gets_fewer_new_tokens_and_a_longer_one_is_refused(monkeypatch):
    model = of("gpt")
    view = view_of(model)
    monkeypatch.setattr(inside, "LARGEST", size_of(view, [14]))
    assert len(look_inside(model, "a bad cab")["streams"][0]["ids"]) == 14
    with pytest.raises(ValueError, match=r"the text has 20 tokens.*with 6 heads, about 14 fit into"):
        check_size(view, [20])
    with pytest.raises(ValueError, match="too many for one page"):
        look_inside(model, "a bad cab", new_tokens=8)


def test_a_page_over_the_limit_is_refused():
    with pytest.raises(ValueError, match=r"the page would have 2\.1 MB, 2 MB at most"):
        look_page("x", {"much": "x" * (LARGEST + 60_000)})


def test_texts_cannot_leave_their_place_in_the_page():
    page = look_page("</title><b>", {"text": "</script><script>alert(1)</script>"})
    assert "&lt;/title&gt;" in page
    assert "</title><b>" not in page
    assert page.count("<script") == 2
    packed = page.partition('id="data">')[2].partition("</script>")[0]
    assert json.loads(packed) == {"text": "</script><script>alert(1)</script>"}


def test_the_page_asks_for_nothing():
    page = look_page("x", {})
    assert not re.search(r"(src|href)=\"(?!data:,)", page)
    assert "http:" not in page
    assert "https:" not in page
    assert "default-src 'none'" in page
    assert "unsafe" not in page
