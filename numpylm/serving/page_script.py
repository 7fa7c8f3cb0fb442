"""What the chat page does: it sends the conversation to the server, and shows the answer while it is written"""

# The function `events` uses nothing of the page, so that a test can run it alone.
SCRIPT = r"""
"use strict";
async function* events(response) {
  const reader = response.body.getReader(), decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    rest += done ? decoder.decode() : decoder.decode(value, { stream: true });
    const blocks = rest.split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const data = block.startsWith("data: ") ? block.slice(6) : "";
      if (data === "[DONE]") return;
      if (data) yield JSON.parse(data);
    }
    if (done) throw new Error("the connection ended before the answer was complete");
  }
}

function page() {
  const find = (id) => document.getElementById(id);
  const talk = [];
  const speakers = { user: "You", assistant: "The model" };
  let stop = null;

  function show(kind, text) {
    const place = document.createElement("div"), words = document.createElement("span");
    place.className = "message " + kind;
    if (kind.includes("error")) place.setAttribute("role", "alert");
    if (speakers[kind]) {
      const name = document.createElement("span");
      name.className = "unseen";
      name.textContent = speakers[kind] + ": ";
      place.append(name);
    }
    words.textContent = text;
    place.append(words);
    find("messages").append(place);
    find("welcome").hidden = true;
    follow(true);
    return { place, words };
  }

  function follow(always) {
    const view = find("view");
    if (always || view.scrollHeight - view.scrollTop - view.clientHeight < 80) view.scrollTop = view.scrollHeight;
  }

  function fit() {
    const text = find("text");
    text.style.height = "auto";
    text.style.height = text.scrollHeight + "px";
  }

  function busy(on) {
    find("send").hidden = on;
    find("stop").hidden = !on;
    find("new").disabled = on;
    find("messages").setAttribute("aria-busy", on);  // an answer is read out when it is complete, not word by word
    find("status").textContent = on ? "The model is writing" : "";
  }

  function request() {
    const system = find("system").value.trim();
    const body = { stream: true, stream_options: { include_usage: true } };
    body.messages = (system ? [{ role: "system", content: system }] : []).concat(talk);
    for (const name of ["temperature", "top_p", "max_tokens", "seed"]) {
      if (find(name).value !== "") body[name] = Number(find(name).value);
    }
    return body;
  }

  async function ask(path, options) {
    let response;
    try {
      response = await fetch(path, options);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("the server does not answer: is numpylm serve still running?");
    }
    if (response.ok) return response;
    const body = await response.json().catch(() => ({}));
    throw new Error(body.error ? body.error.message : "the server answered with status " + response.status);
  }

  async function answer(shown) {
    let text = "", finish = "", usage = null;
    stop = new AbortController();
    const headers = { "Content-Type": "application/json" };
    const options = { method: "POST", headers, body: JSON.stringify(request()), signal: stop.signal };
    const began = performance.now();
    try {
      for await (const chunk of events(await ask("v1/chat/completions", options))) {
        if (chunk.error) throw new Error(chunk.error.message);
        usage = chunk.usage || usage;
        for (const choice of chunk.choices) {
          text += choice.delta.content || "";
          finish = choice.finish_reason || finish;
        }
        if (text) shown.place.classList.remove("waiting");
        shown.words.textContent = text;
        follow(false);
      }
      const seconds = (performance.now() - began) / 1000, count = usage.completion_tokens;
      const why = !text ? "; the answer is empty" : finish === "length" ? "; the limit of its length ended it" : "";
      const speed = (count / seconds).toFixed(1) + " a second";
      show("note", count + " tokens in " + seconds.toFixed(1) + " s, " + speed + why);
    } catch (error) {
      if (error.name === "AbortError") show("note", "stopped");
      else show("note error", error.message);
    }
    shown.place.classList.remove("waiting");
    return text;
  }

  async function send() {
    const text = find("text").value;
    if (stop || !text.trim()) return;
    find("text").value = "";
    fit();
    talk.push({ role: "user", content: text });
    const mine = show("user", text), shown = show("assistant", "");
    shown.place.classList.add("waiting");
    busy(true);
    const said = await answer(shown);
    if (said) talk.push({ role: "assistant", content: said });
    else {  // nothing was said: the message can be changed and sent again
      talk.pop();
      mine.place.remove();
      shown.place.remove();
      find("text").value = find("text").value || text;
      fit();
    }
    stop = null;
    busy(false);
    find("text").focus();
  }

  function startAgain() {
    talk.length = 0;
    find("messages").replaceChildren();
    find("welcome").hidden = false;
    find("text").focus();
  }

  find("form").addEventListener("submit", (event) => { event.preventDefault(); send(); });
  find("text").addEventListener("input", fit);
  find("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); send(); }
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && stop) stop.abort(); });
  find("stop").addEventListener("click", () => stop && stop.abort());
  find("new").addEventListener("click", startAgain);
  ask("v1/models").then((response) => response.json()).then((models) => {
    find("name").textContent = document.title = models.data[0].id;
  }).catch((error) => show("note error", error.message));
}

if (typeof document !== "undefined") page();
"""
