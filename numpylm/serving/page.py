"""The chat page at ``/``: one HTML document without anything from elsewhere

What the model writes is put into the page as text, never as HTML. The policy, which is sent as a header, lets the
browser run only this script and connect only to this server.
"""

from numpylm.serving.page_script import SCRIPT
from numpylm.serving.page_style import STYLE
from numpylm.system.html_policy import hashed

BODY = """
<header><div><h1 id="name">numpylm</h1><p class="soft">runs on this machine, in NumPy</p></div>
<button id="new" type="button">New chat</button></header>
<main id="view">
<div id="welcome"><h2>Ask a question</h2>
<p class="soft">Enter sends it, Shift+Enter begins a new line, Esc stops the answer.</p></div>
<div id="messages" role="log" aria-live="polite" aria-label="Conversation" tabindex="0"></div>
</main>
<p id="status" class="unseen" role="status"></p>
<form id="form" aria-label="Your message">
<div class="box"><textarea id="text" rows="1" aria-label="Message" placeholder="Message" autofocus></textarea>
<button id="send" class="round" type="submit" aria-label="Send" title="Send (Enter)">
<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M12 20V5M5.5 11 12 4.5 18.5 11"/></svg></button>
<button id="stop" class="round" type="button" aria-label="Stop" title="Stop (Esc)" hidden>
<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M7 7H17V17H7Z"/></svg></button></div>
<details><summary>Options</summary><div class="fields">
<label class="wide">System message <input id="system" autocomplete="off"></label>
<label>Temperature <input id="temperature" type="number" min="0" max="2" step="0.1" placeholder="1"></label>
<label>Top-p <input id="top_p" type="number" min="0.05" max="1" step="0.05" placeholder="1"></label>
<label>Longest answer, tokens <input id="max_tokens" type="number" min="1" placeholder="no limit"></label>
<label>Seed <input id="seed" type="number" placeholder="random"></label>
</div></details>
</form>
"""


PAGE = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>numpylm</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>
<body>{BODY}<script>{SCRIPT}</script>
</body>
</html>
"""

POLICY = (
    f"default-src 'none'; script-src {hashed(SCRIPT)}; style-src {hashed(STYLE)}; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
