"""The chat page of ``numpylm serve`` in a browser: a chat with a tiny model, by mouse and by keyboard alone."""

import json
import re
from urllib.parse import urlsplit

import pytest

from tests.browser.conftest import PHONE
from tests.serving.serving import CHAT, Slow, letters, message, serving, tiny, until

pytestmark = pytest.mark.slow
SENT = "() => !document.getElementById('send').hidden"


@pytest.fixture
def served():
    """A server whose model writes until it is stopped; ``model.seconds`` is its time for a token."""
    model = Slow(tiny(letters(), 4096), 0.0)
    with serving(model, places=1, most=1) as served:
        served.model = model
        yield served
        model.seconds = 0.0


def opened(page, served, **options):
    """The page, with options in its form."""
    tab = page.open(served.server.address)
    if options:
        tab.locator("summary").click()
        for name, value in options.items():
            tab.fill(f"#{name}", str(value))
    return tab


def ask(tab, text, wait=True):
    tab.fill("#text", text)
    tab.keyboard.press("Enter")
    if wait:
        tab.wait_for_function(SENT)


def said(tab, kind="assistant"):
    """What the messages of a kind say, without the name of the speaker."""
    return tab.locator(f".{kind} > span:last-child").all_text_contents()


def test_it_loads_from_this_server_alone_and_without_a_message(page, served):
    tab = opened(page, served)
    assert {urlsplit(url).path for url in page.requests if not url.startswith("data:")} == {"/", "/v1/models"}
    assert {urlsplit(url).port for url in page.requests if not url.startswith("data:")} == {served.port}
    assert (tab.title(), tab.locator("h1").text_content()) == ("tiny", "tiny")
    assert page.messages == []


def test_answers_are_those_of_the_api_in_a_conversation(page, served):
    tab = opened(page, served, seed=3, max_tokens=30, temperature=0.8)
    body = message("ab", seed=3, max_tokens=30, temperature=0.8)
    ask(tab, "ab")
    first = served.ask(CHAT, body).body["choices"][0]["message"]["content"]
    assert said(tab) == [first]
    assert re.fullmatch(r"30 tokens in .* a second; the limit of its length ended it", said(tab, "note")[0])
    ask(tab, "cd")
    body["messages"] += [{"role": "assistant", "content": first}, {"role": "user", "content": "cd"}]
    assert said(tab) == [first, served.ask(CHAT, body).body["choices"][0]["message"]["content"]]
    tab.get_by_role("button", name="New chat").click()
    assert tab.locator(".message").count() == 0
    ask(tab, "ab")
    assert said(tab) == [first]


def test_the_answer_is_shown_while_it_is_written(page, served):
    served.model.seconds = 0.05
    tab = opened(page, served, seed=3, max_tokens=60)
    ask(tab, "ab", wait=False)
    tab.wait_for_function("() => document.querySelector('.assistant > span:last-child')?.textContent.length > 2")
    assert tab.locator("#messages").get_attribute("aria-busy") == "true"
    before = said(tab)[0]
    served.model.seconds = 0.0
    tab.wait_for_function(SENT)
    assert said(tab)[0].startswith(before)
    assert len(said(tab)[0]) > len(before)
    assert tab.locator("#messages").get_attribute("aria-busy") == "false"


@pytest.mark.parametrize("way", ["button", "escape"])
def test_an_answer_can_be_stopped_and_the_chat_goes_on(page, served, way):
    served.model.seconds = 0.02
    tab = opened(page, served, seed=3)
    ask(tab, "ab", wait=False)
    tab.wait_for_function("() => document.querySelector('.assistant > span:last-child')?.textContent.length > 2")
    if way == "button":
        tab.get_by_role("button", name="Stop").click()
    else:
        tab.keyboard.press("Escape")
    tab.wait_for_function(SENT)
    assert said(tab, "note") == ["stopped"]
    assert said(tab)[0]
    until(lambda: served.service.scheduler.load() == (0, 0))  # the place is free
    tab.fill("#max_tokens", "3")
    ask(tab, "cd")
    assert len(said(tab)) == 2


def test_enter_sends_and_shift_enter_begins_a_line(page, served):
    tab = opened(page, served, max_tokens=2)
    tab.locator("#text").focus()
    low = tab.locator("#text").bounding_box()["height"]
    tab.keyboard.type("a")
    tab.keyboard.press("Shift+Enter")
    tab.keyboard.type("b")
    assert tab.locator(".message").count() == 0
    assert tab.locator("#text").bounding_box()["height"] > 1.4 * low  # it grows with its text
    tab.keyboard.press("Enter")
    tab.wait_for_function(SENT)
    assert said(tab, "user") == ["a\nb"]
    assert tab.locator("#text").input_value() == ""
    assert tab.locator("#text").bounding_box()["height"] == pytest.approx(low, abs=1)
    tab.keyboard.press("Enter")  # nothing to send
    assert tab.locator(".user").count() == 1


def test_the_keyboard_alone_is_enough(page, served):
    tab = page.open(served.server.address)
    focused = "document.activeElement.id || document.activeElement.tagName"
    assert tab.evaluate(focused) == "text"
    tab.keyboard.type("ab")
    for key, place in (("Shift+Tab", "messages"), ("Shift+Tab", "new"), *[("Tab", None)] * 2, ("Tab", "send")):
        tab.keyboard.press(key)
        assert place in (None, tab.evaluate(focused))
    tab.keyboard.press("Tab")
    assert tab.evaluate(focused) == "SUMMARY"
    tab.keyboard.press("Enter")  # opens the options
    for name, value in (("system", "c"), ("temperature", "0"), ("top_p", "1"), ("max_tokens", "4"), ("seed", "1")):
        tab.keyboard.press("Tab")
        assert tab.evaluate(focused) == name
        tab.keyboard.type(value)
    for _ in range(7):  # back over the fields, the summary and the button
        tab.keyboard.press("Shift+Tab")
    assert tab.evaluate(focused) == "text"
    tab.keyboard.press("Enter")
    tab.wait_for_function(SENT)
    body = message("ab", temperature=0, max_tokens=4)
    body["messages"].insert(0, {"role": "system", "content": "c"})
    assert said(tab) == [served.ask(CHAT, body).body["choices"][0]["message"]["content"]]
    assert tab.evaluate(focused) == "text"  # ready for the next message


def test_errors_of_the_server_are_shown_and_the_message_is_kept(page, served):
    page.expected = ["Failed to load resource"]  # the browser's own line about a status of 400 or 429
    tab = opened(page, served, temperature=7)
    ask(tab, "ab")
    alert = tab.get_by_role("alert")
    assert "temperature" in alert.text_content()
    assert tab.locator("#text").input_value() == "ab"
    assert said(tab, "user") == []
    tab.fill("#temperature", "1")
    tab.fill("#max_tokens", "3")
    ask(tab, "ab")
    assert len(said(tab)) == 1


def test_a_full_server_and_a_server_that_stops_are_told(page, served):
    page.expected = ["Failed to load resource", "ERR_"]
    served.model.seconds = 0.02
    tab = opened(page, served)
    ask(tab, "ab", wait=False)
    until(lambda: served.service.scheduler.load() == (1, 0))
    assert served.ask(CHAT, message("ab")).status == 429
    tab.wait_for_function("() => document.querySelector('.assistant > span:last-child')?.textContent.length > 2")
    served.server.close()
    tab.wait_for_function(SENT)
    assert "the server is stopping" in tab.get_by_role("alert").text_content()
    assert said(tab)[0]  # what was written stays
    ask(tab, "cd")
    assert "is numpylm serve still running?" in tab.get_by_role("alert").last.text_content()
    assert tab.locator("#text").input_value() == "cd"


def test_what_is_said_is_text_and_never_html(page, served):
    html = "<img src=x onerror=alert(1)><b>a</b><script>alert(2)</script>"
    chunk = {"choices": [{"delta": {"content": html}, "finish_reason": "stop"}], "usage": {"completion_tokens": 1}}
    body = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
    tab = opened(page, served)
    tab.route(f"**{CHAT}", lambda route: route.fulfill(body=body, content_type="text/event-stream"))
    ask(tab, html)
    assert (said(tab, "user"), said(tab)) == ([html], [html])
    assert tab.locator("#messages img, #messages b, #messages script").count() == 0


def luminance(color):
    """The relative luminance of ``rgb(…)`` (WCAG 2.1)."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(tab, selector, around="body"):
    """The contrast of a text with what is behind it."""
    style = "(e, name) => getComputedStyle(e)[name]"
    ink = luminance(tab.locator(selector).first.evaluate(style, "color"))
    behind = luminance(tab.locator(around).first.evaluate(style, "backgroundColor"))
    return (max(ink, behind) + 0.05) / (min(ink, behind) + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_are_readable(new_page, served, scheme):
    page = new_page(color_scheme=scheme)
    page.expected = ["Failed to load resource"]
    tab = opened(page, served, max_tokens=2)
    ask(tab, "ab")
    tab.fill("#temperature", "9")
    ask(tab, "ab")
    assert (luminance(tab.evaluate("getComputedStyle(document.body).backgroundColor")) > 0.5) == (scheme == "light")
    texts = [("h1", "body"), (".assistant", "body"), (".note", "body"), (".error", "body"), ("label", "body")]
    for selector, around in (*texts, (".user", ".user"), ("#text", ".box"), ("#send", "#send")):
        assert contrast(tab, selector, around) >= 4.5, selector


@pytest.mark.parametrize("width", [320, 360, 1280])
def test_nothing_is_wider_than_the_window(new_page, served, width):
    page = new_page(**PHONE | {"viewport": {"width": width, "height": 640}})
    tab = opened(page, served, max_tokens=200)
    assert page.overflow() == 0
    ask(tab, "a" * 300)
    assert page.overflow() == 0
    box = tab.locator("#send").bounding_box()
    assert box["x"] + box["width"] <= width
    assert box["y"] + box["height"] <= 640
    assert min(box["width"], box["height"]) >= 36  # large enough for a finger
    scrolled = tab.evaluate(
        "(() => { const v = document.getElementById('view'); return v.scrollTop + v.clientHeight - v.scrollHeight; })()"
    )
    assert abs(scrolled) < 2  # the newest line is in sight


def test_a_screen_reader_finds_names_and_roles(page, served):
    tab = opened(page, served, max_tokens=3)
    for role, name in (
        ("textbox", "Message"),
        ("button", "Send"),
        ("button", "New chat"),
        ("log", "Conversation"),
        ("textbox", "System message"),
        ("spinbutton", "Temperature"),
        ("spinbutton", "Top-p"),
        ("spinbutton", "Longest answer, tokens"),
        ("spinbutton", "Seed"),
    ):
        assert tab.get_by_role(role, name=name, exact=True).count() == 1, name
    assert tab.get_by_role("main").count() == 1
    assert tab.get_by_role("heading", level=1).count() == 1
    assert tab.locator("html").get_attribute("lang") == "en"
    assert tab.locator("#messages").get_attribute("aria-live") == "polite"
    ask(tab, "ab")
    assert [text.split(": ")[0] for text in tab.locator(".user, .assistant").all_text_contents()] == [
        "You",
        "The model",
    ]
