"""The page of ``numpylm look`` in a browser: NumPy's numbers, by mouse and by keyboard, on a phone, light and dark."""

import json
import re

import numpy as np
import pytest

from numpylm.inference.inside.content import look_inside
from numpylm.inference.inside.measure import ablations, forward, gradient_times_input
from numpylm.inference.inside.page import look_page
from numpylm.inference.inside.views import batch_of, view_of
from numpylm.inference.log_probs import log_softmax
from tests.browser.conftest import PHONE
from tests.inference.inside_models import KINDS, of
from tests.inference.test_inside_page import prompt

pytestmark = pytest.mark.slow
NUMBERS = """() => kinds.map((kind) => ({
  weights: Array.from({ length: kind.layers * kind.heads * kind.T * kind.S }, (_, i) => weight(kind,
    Math.floor(i / (kind.heads * kind.T * kind.S)), Math.floor(i / (kind.T * kind.S)) % kind.heads,
    Math.floor(i / kind.S) % kind.T, i % kind.S)),
  effects: Array.from({ length: kind.layers * kind.heads * outputs }, (_, i) => effect(kind,
    Math.floor(i / (kind.heads * outputs)), Math.floor(i / outputs) % kind.heads, i % outputs)),
}))"""


def opened(page, tmp_path, kind, layers=None, **options):
    """The page of a tiny model, and what it shows."""
    model = of(kind, **({"n_layer": layers} if layers else {}))
    found = look_inside(model, prompt(kind), **options)
    path = tmp_path / "look.html"
    path.write_text(look_page("tiny", found), encoding="utf-8")
    return page.open(path.as_uri()), model, found


def run_again(model, found):
    view, ids = view_of(model), [stream["ids"] for stream in found["streams"]]
    return view, ids, forward(view, [batch_of(part) for part in ids]), np.array(found["targets"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_script_reads_numpys_numbers(page, tmp_path, kind):
    tab, model, found = opened(page, tmp_path, kind)
    view, ids, run, targets = run_again(model, found)
    effects, maps = ablations(view, run, targets), run.attention(view)
    for part, read in zip(found["kinds"], tab.evaluate(NUMBERS), strict=True):
        weights = np.stack([layer[0] for layer in maps[part["name"]]])
        np.testing.assert_allclose(read["weights"], weights.ravel(), atol=1e-5)
        np.testing.assert_allclose(read["effects"], effects[part["name"]].ravel(), atol=1e-5)
    for stream, values in enumerate(gradient_times_input(view, ids, targets)):
        read = tab.evaluate("(s) => Array.from(gradient[s])", stream)
        np.testing.assert_allclose(read, values.ravel(), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_it_asks_for_nothing_and_says_nothing(page, tmp_path, kind):
    tab, _, _ = opened(page, tmp_path, kind)
    assert [url for url in page.requests if not url.startswith("data:")] == [(tmp_path / "look.html").as_uri()]
    assert page.messages == []
    assert page.overflow() == 0
    assert tab.locator("main .card").count() == 7


def test_the_next_tokens_in_the_table_are_those_of_the_model(page, tmp_path):
    tab, model, found = opened(page, tmp_path, "gpt")
    _, ids, run, _ = run_again(model, found)
    tab.locator("#token-0-3").click()
    p = np.exp(log_softmax(run.logits[0, 3]))
    rows = tab.locator("#next-bars tbody tr")
    best = np.argsort(-p, kind="stable")[: rows.count()]
    shown = [float(text) for text in rows.locator("td:last-child").all_text_contents()]
    np.testing.assert_allclose(shown, p[best], atol=1e-4)
    chosen = tab.locator("#next-bars tr.target th").text_content()
    assert chosen.startswith(model.tokenizer.decode([ids[0][4]]).replace(" ", "·"))


def test_arrow_keys_choose_a_position(page, tmp_path):
    tab, _, found = opened(page, tmp_path, "gpt")
    tab.locator("[role=listbox]").focus()
    tab.keyboard.press("Home")
    assert tab.locator("[aria-selected=true]").get_attribute("id") == "token-0-0"
    before = tab.locator("#status").text_content()
    tab.keyboard.press("ArrowRight")
    assert tab.locator("[aria-selected=true]").get_attribute("id") == "token-0-1"
    assert tab.locator("[role=listbox]").get_attribute("aria-activedescendant") == "token-0-1"
    assert tab.locator("#status").text_content() != before
    tab.keyboard.press("End")
    assert tab.locator("[aria-selected=true]").get_attribute("id") == f"token-0-{len(found['targets']) - 1}"
    tab.keyboard.press("ArrowRight")  # there is none: nothing happens
    assert tab.locator("[aria-selected=true]").count() == 1


def test_heads_and_cells_can_be_chosen_by_keyboard(page, tmp_path):
    tab, model, found = opened(page, tmp_path, "gpt")
    _, _, run, _ = run_again(model, found)
    tab.locator("#heads button").first.click()
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("ArrowRight")
    assert tab.locator("#map-h").text_content() == "Self-attention: block 2, head 2"
    label = tab.evaluate("document.activeElement.getAttribute('aria-label')")
    assert re.fullmatch(r"Block 2, head 2: “.+” looks most at “.+”, [\d.]+", label)
    tab.locator("[role=listbox]").focus()
    tab.keyboard.press("End")
    tab.locator("#map").focus()
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowUp")
    text = tab.locator("#map-status").text_content()
    t, s = (int(n) - 1 for n in re.findall(r"\((\d+)\)", text))
    assert (t, s) == (len(found["targets"]) - 2, 1)
    shown = float(re.search(r"weight ([\d.]+)\.", text)[1])
    np.testing.assert_allclose(shown, run.attention(view_of(model))["self"][1][0, 1, t, s], atol=1e-4)


def test_the_chosen_head_of_a_deep_model_can_be_seen(page, tmp_path):
    tab, _, _ = opened(page, tmp_path, "gpt", layers=30)
    tab.locator("#ablation-grids button").last.click()
    assert tab.locator("#map-h").text_content() == "Self-attention: block 30, head 2"
    box = tab.evaluate("find('heads').parentElement.getBoundingClientRect().toJSON()")
    button = tab.locator("#heads button").last.bounding_box()
    assert box["top"] <= button["y"] <= box["bottom"] - button["height"] + 1


def test_a_cell_of_the_grid_opens_its_head(page, tmp_path):
    tab, _, _ = opened(page, tmp_path, "post-norm")
    grid = tab.locator("#ablation-grids > div").nth(2)
    assert grid.locator("h3").text_content().startswith("Cross-attention")
    grid.locator("button").nth(3).click()
    assert tab.locator("#map-h").text_content() == "Cross-attention: block 2, head 2"
    assert tab.locator("#kinds [aria-checked=true]").text_content() == "Cross-attention"


def test_steps_go_back_and_forth_and_move_the_position(page, tmp_path):
    tab, _, found = opened(page, tmp_path, "gpt", new_tokens=3)
    given = found["given"]
    tab.locator("#forth").click()
    tab.locator("#steps").press("ArrowRight")
    assert tab.locator("#step-number").text_content() == "Step 3 of 3"
    assert tab.locator("#forth").is_disabled()
    assert tab.locator("[aria-selected=true]").get_attribute("id") == f"token-0-{given + 1}"
    names = found["names"]["tokens"]
    text = "".join(names[str(i)] for i in found["streams"][0]["ids"][: given + 3])
    assert tab.locator("#so-far").text_content() == text


def test_masks_are_filled_in_the_text(page, tmp_path):
    tab, _, found = opened(page, tmp_path, "masked words")
    tab.locator("#forth").click()
    assert "[MASK]" not in tab.locator("#so-far").text_content()
    assert tab.locator("#step-number").text_content() == "Step 2 of 2"
    assert found["steps"][0]["output"] != found["steps"][1]["output"]


@pytest.mark.parametrize("kind", ["gpt", "classes, first", "post-norm"])
def test_a_phone_needs_no_sideways_scrolling(new_page, tmp_path, kind):
    page = new_page(**PHONE)
    tab, _, _ = opened(page, tmp_path, kind)
    assert page.overflow() == 0
    tab.locator("summary").first.click()
    tab.locator("summary").last.click()
    assert page.overflow() == 0


def test_light_and_dark_follow_the_system(new_page, tmp_path):
    colors = set()
    for scheme in ("light", "dark"):
        tab, _, _ = opened(new_page(color_scheme=scheme), tmp_path, "gpt")
        colors.add(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(colors) == 2


@pytest.mark.parametrize("kind", ["gpt", "masked words", "classes, mean", "pre-norm"])
def test_everything_that_can_be_focused_has_a_name(page, tmp_path, kind):
    tab, _, _ = opened(page, tmp_path, kind)
    unnamed = tab.evaluate(
        """() => [...document.querySelectorAll("button, canvas[tabindex], [role=listbox], [role=region], section")]
          .filter((e) => !(e.getAttribute("aria-label") || e.getAttribute("aria-labelledby") || e.textContent.trim()))
          .map((e) => e.outerHTML)"""
    )
    assert unnamed == []
    missing = tab.evaluate(
        """() => [...document.querySelectorAll("[aria-labelledby], [aria-activedescendant]")].flatMap((e) =>
          [e.getAttribute("aria-labelledby"), e.getAttribute("aria-activedescendant")])
          .filter((id) => id && !document.getElementById(id))"""
    )
    assert missing == []


def test_the_tables_say_what_the_pictures_show(page, tmp_path):
    tab, model, found = opened(page, tmp_path, "post-norm")
    view, ids, _, targets = run_again(model, found)
    tab.locator("#token-1-1").click()
    rows = tab.locator("#saliency-table tbody tr")
    values = gradient_times_input(view, ids, targets)
    wanted = [*values[0][1], *values[1][1, :2]]  # what the decoder has read so far
    shown = [float(text.replace("−", "-")) for text in rows.locator("td:last-child").all_text_contents()]
    np.testing.assert_allclose(shown, wanted, atol=1e-4)
    tab.locator("summary").last.click()
    tab.locator("#map-table tbody tr").first.wait_for()  # the table is filled when it opens
    assert tab.locator("#map-table tbody tr").count() == json.loads(tab.evaluate("JSON.stringify(chosen.kind.T)"))
