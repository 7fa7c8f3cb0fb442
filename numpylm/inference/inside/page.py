"""The page that looks inside a model: one HTML file with its numbers, script and style, and nothing from elsewhere."""

import html
import json
from pathlib import Path
from string import Template
from typing import Any

from numpylm.inference.inside.content import LARGEST
from numpylm.system.html_policy import hashed
from numpylm.system.whole_files import read_text

FOLDER = Path(__file__).parent


def look_page(title: str, content: dict[str, Any]) -> str:
    """The page, for the name of a model and what `look_inside` has found. Raises ValueError if it is over 2 MB.

    The page's own policy lets the browser run only this script and connect to nothing. Texts are put into the page as
    text, never as HTML.
    """
    script, style = read_text(FOLDER / "page.js"), read_text(FOLDER / "page.css")
    policy = f"default-src 'none'; script-src {hashed(script)}; style-src {hashed(style)}; img-src data:"
    data = json.dumps(content, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    page = Template(read_text(FOLDER / "page.html")).substitute(
        title=html.escape(title), policy=policy, style=style, data=data, script=script
    )
    if (size := len(page.encode("utf-8", "surrogatepass"))) > LARGEST:
        raise ValueError(
            f"the page would have {size / 1e6:.1f} MB, {LARGEST / 1e6:.0f} MB at most: shorten the prompt, or lower "
            "--new-tokens"
        )
    return page
