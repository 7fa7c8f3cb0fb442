"""The chat page: it needs nothing from elsewhere, its parts fit together, and its script reads the server's streams."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from numpylm.serving.page import PAGE, POLICY, SCRIPT, STYLE, hashed
from tests.serving.serving import CHAT, letters, message, serving, tiny

NODE = shutil.which("node")


class Reader(HTMLParser):
    """The elements of the page that are open, all attributes, and the texts of style and script."""

    VOID = ("meta", "link", "input")

    def __init__(self):
        super().__init__()
        self.open, self.attributes, self.inside = [], [], {}
        self.feed(PAGE)

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("style", "script"):
            self.inside[self.open[-1]] = self.inside.get(self.open[-1], "") + data


def test_the_page_is_well_formed_and_loads_nothing():
    page = Reader()
    assert page.open == []
    assert not [a for a in page.attributes if a[1] in ("src", "action", "style") or a[1].startswith("on")]
    assert [value for _, name, value in page.attributes if name == "href"] == ["data:,"]
    assert not re.search(r"https?://|@import|url\(|innerHTML|eval\(", PAGE)


def test_the_policy_allows_this_script_and_this_style_and_no_others():
    page = Reader()
    assert page.inside["script"] == SCRIPT
    assert page.inside["style"] == STYLE
    assert f"script-src {hashed(page.inside['script'])};" in POLICY
    assert f"style-src {hashed(page.inside['style'])};" in POLICY
    assert "unsafe" not in POLICY
    with serving() as served:
        answer = served.ask("/")
        assert answer.headers["Content-Security-Policy"] == POLICY
        assert answer.body.decode() == PAGE


def test_every_element_that_the_script_uses_is_there_once():
    page = Reader()
    ids = [value for _, name, value in page.attributes if name == "id"]
    used = set(re.findall(r'find\("(\w+)"\)', SCRIPT)) | {"temperature", "top_p", "max_tokens", "seed"}
    assert set(ids) == used
    assert len(ids) == len(set(ids))


def test_light_and_dark_define_the_same_colors():
    light, dark = (set(re.findall(r"(--\w+):", part)) for part in STYLE.split("@media (prefers-color-scheme: dark)"))
    assert dark == light
    assert set(re.findall(r"var\((--\w+)\)", STYLE)) <= light


READ = """
(async () => {
  const [address, body] = process.argv.slice(2);
  const response = await fetch(address, { method: "POST", headers: { "Content-Type": "application/json" }, body });
  const found = [];
  for await (const chunk of events(response)) found.push(chunk);
  console.log(JSON.stringify(found));
})().catch((error) => console.log(JSON.stringify(error.message)));
"""


def javascript(tmp_path, *argv):
    path = tmp_path / "page.js"
    path.write_text(SCRIPT + READ, encoding="utf-8")
    done = subprocess.run([NODE, path, *argv], capture_output=True, timeout=60, check=True)
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(NODE is None, reason="needs Node.js")
def test_the_script_reads_a_stream_of_the_server(tmp_path):
    with serving() as served:
        body = message("ab", seed=3, max_tokens=30)
        (choice,) = served.ask(CHAT, body).body["choices"]
        asked = json.dumps(body | {"stream": True, "stream_options": {"include_usage": True}})
        found = javascript(tmp_path, f"{served.server.address}{CHAT}", asked)
        text = "".join(part["choices"][0]["delta"].get("content", "") for part in found[:-1])
        assert text == choice["message"]["content"]
        assert found[-1]["usage"]["completion_tokens"] == 30


@pytest.mark.slow
@pytest.mark.skipif(NODE is None, reason="needs Node.js")
def test_the_script_notices_a_stream_that_breaks_off(tmp_path, capsys):
    class Breaks:
        """Two tokens, then an error."""

        def __init__(self, gpt):
            self.gpt, self.config, self.count = gpt, gpt.config, 0

        def forward(self, ids):
            self.count += 1
            if self.count > 2:
                raise ValueError("enough")
            return self.gpt.forward(ids)

    with serving(Breaks(tiny(letters()))) as served:
        found = javascript(
            tmp_path, f"{served.server.address}{CHAT}", json.dumps(message("ab", stream=True, temperature=0))
        )
    assert found == "the connection ended before the answer was complete"
    assert "enough" in capsys.readouterr().err
