"""The drawn confusion matrix: well-formed, complete, and readable on light and dark pages."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from numpylm.metrics import ClassificationReport, confusion_svg
from numpylm.metrics.confusion_svg import DARK, LIGHT, SWITCH

SVG = "{http://www.w3.org/2000/svg}"


def draw(true, predicted, title="Pets"):
    source = confusion_svg(title, ClassificationReport.of(true, predicted))
    return source, ET.fromstring(source)


def words(root):
    return [element.text for element in root.iter(f"{SVG}text")]


def test_cells_show_counts_and_tooltips_and_empty_cells_are_not_drawn():
    _, root = draw(["cat"] * 4 + ["dog"], ["cat"] * 3 + ["dog"] * 2)
    tooltips = [element.text for element in root.iterfind(f"{SVG}g/{SVG}title")]
    assert tooltips == [
        "true: cat, predicted: cat: 3 of 4 (75.0%)",
        "true: cat, predicted: dog: 1 of 4 (25.0%)",
        "true: dog, predicted: dog: 1 of 1 (100.0%)",
    ]
    assert [element.text for element in root.iterfind(f"{SVG}g/{SVG}text")] == ["3", "1", "1"]
    assert {"Pets", "true", "predicted"} <= set(words(root))
    assert words(root).count("dog") == 2


def test_the_color_is_the_share_of_the_row():
    _, root = draw(["cat"] * 4 + ["dog"], ["cat"] * 3 + ["dog"] * 2)
    first, second, third = [float(box.get("fill-opacity")) for box in root.iterfind(f"{SVG}g/{SVG}rect")]
    assert first == pytest.approx((second + 2 * third) / 3, abs=1e-3)  # opacity is linear: 0.75 = (0.25 + 2 · 1) / 3
    assert third == 1


def test_names_with_markup_and_control_characters_stay_well_formed():
    _, root = draw(["<b>&\"'", "a\x00\ud800"], ["<b>&\"'", "<b>&\"'"], title="A < B & \x1b")
    assert "<b>&\"'" in words(root)
    assert "a\\x00\\ud800" in words(root)
    assert root.find(f"{SVG}title").text == "A < B & \\x1b"


def test_77_classes_have_all_names_but_no_counts():
    rng = np.random.default_rng(0)
    labels = [f"intent_{n}" for n in range(77)]
    true = labels * 9
    predicted = [label if rng.random() < 0.8 else str(rng.choice(labels)) for label in true]
    source, root = draw(true, predicted)
    assert all(words(root).count(label) == 2 for label in labels)
    assert not root.findall(f"{SVG}g/{SVG}text")
    assert len(root.findall(f"{SVG}g/{SVG}title")) == len(set(zip(true, predicted, strict=True)))
    assert len(source) < 200_000


@pytest.mark.parametrize("K", [1, 4, 30, 31])
def test_everything_lies_on_the_page(K):
    labels = [f"{'long' * 20}{n}" for n in range(K)]
    _, root = draw(labels, labels)
    _, _, width, height = map(float, root.get("viewBox").split())
    for element in [*root.iter(f"{SVG}text"), *root.iter(f"{SVG}rect")]:
        if element.get("x"):
            assert 0 <= float(element.get("x")) + float(element.get("width", 0)) <= width
            assert 0 <= float(element.get("y")) + float(element.get("height", 0)) <= height


def luminance(color):
    """Relative luminance of an sRGB color (3,), as WCAG 2 defines it."""
    linear = np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("colors", [LIGHT, DARK], ids=["light", "dark"])
def test_counts_are_readable_on_every_color_of_the_scale(colors):
    rgb = {name: np.array([int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)]) for name, code in colors.items()}
    for opacity in np.linspace(0, 1, 101):
        cell = luminance(rgb["page"] + opacity * (rgb["full"] - rgb["page"]))
        word = luminance(rgb["on_full" if opacity >= SWITCH else "text"])
        contrast = (max(cell, word) + 0.05) / (min(cell, word) + 0.05)
        assert contrast > 4, f"opacity {opacity:.2f}: contrast {contrast:.2f}"
