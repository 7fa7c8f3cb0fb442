"use strict";
// Reads the numbers in the page, and draws them for one output (a position) and one head at a time.
const data = JSON.parse(document.getElementById("data").textContent);
const find = (id) => document.getElementById(id);

// ------------------------------------------------------------------------------------- the numbers

function unpack(text, Type) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Type(bytes.buffer);
}

const floats = (text) => unpack(text, Float32Array);
const whole = (text) => unpack(text, Int32Array);
const lengths = data.streams.map((stream) => stream.ids.length);
const outputs = data.targets.length;
const last = data.streams.length - 1;  // the stream whose positions have outputs
const best = { count: data.top.count, ids: whole(data.top.ids), p: floats(data.top.p) };
const lens = { ...data.lens, ids: whole(data.lens.ids), p: floats(data.lens.p), targetP: floats(data.lens.targetP),
  targetRank: whole(data.lens.targetRank) };
const entropy = floats(data.entropy), surprise = floats(data.surprise);
const gradient = data.gradient.map(floats);
const steps = data.steps.map((step) => ({ ...step, p: floats(step.p) }));
const kinds = data.kinds.map((kind) => ({ ...kind, T: lengths[kind.queries], S: lengths[kind.keys],
  weights: unpack(kind.weights, Uint16Array), effect: floats(kind.effect) }));

// The weight that query t of a head gives to key s. A causal map is stored up to its diagonal, row by row.
function weight(kind, layer, head, t, s) {
  if (kind.causal && s > t) return 0;
  const pairs = kind.causal ? kind.T * (kind.T + 1) / 2 : kind.T * kind.S;
  const place = kind.causal ? t * (t + 1) / 2 + s : t * kind.S + s;
  return kind.weights[(layer * kind.heads + head) * pairs + place] / 65535;
}

const effect = (kind, layer, head, output) => kind.effect[(layer * kind.heads + head) * outputs + output];
const tokenName = (id) => data.names.tokens[id];
const name = (id) => data.perText ? data.names.labels[id] : tokenName(id);  // of what is predicted
const token = (stream, t) => tokenName(data.streams[stream].ids[t]);
const number = (x) => x > 0 && x < 1e-6 ? "< 0.000001" : x.toFixed(x !== 0 && Math.abs(x) < 0.001 ? 6 : 4);
const signed = (x) => (x < 0 ? "−" : "+") + Math.abs(x).toFixed(4);
function brief(x) {  // two decimals, and no sign for a zero
  const text = Math.abs(x).toFixed(2);
  return text === "0.00" ? text : (x < 0 ? "−" : "+") + text;
}

// ----------------------------------------------------------------------------- what is chosen, and parts

const begin = data.masked && steps.length ? steps[0].output : data.byModel && !data.perText ? data.given - 1 : 0;
const chosen = { output: begin, step: 0, kind: kinds[kinds.length - 1], layer: 0, head: 0, key: null, query: null };

function make(tag, text, properties = {}) {
  const element = Object.assign(document.createElement(tag), properties);
  if (text !== undefined) element.textContent = text;
  return element;
}

function tint(x, most) {
  const share = most > 0 ? Math.min(1, Math.abs(x) / most) : 0;
  return `rgba(var(${x < 0 ? "--minus" : "--plus"}), ${(0.55 * share).toFixed(3)})`;
}

// The colors of the style, read once for each scheme: reading them makes the browser compute all styles again.
const colors = {};
function readColors() {
  const style = getComputedStyle(document.documentElement);
  for (const key of ["--plus", "--page", "--accent", "--ink"]) colors[key] = style.getPropertyValue(key).trim();
}
readColors();

// Rows of a table of bars: [{ label, value, shown, target }].
function bars(table, heads, rows, most = 1) {
  const head = make("thead"), body = make("tbody"), line = make("tr");
  for (const text of heads) line.append(make("th", text, { scope: "col" }));
  head.append(line);
  for (const row of rows) {
    const tr = make("tr", undefined, { className: row.target ? "target" : "" });
    const th = make("th", row.label, { scope: "row", className: "name", title: row.label });
    const place = make("td"), bar = make("div", undefined, { className: "bar" });
    if (row.target) th.append(make("span", " (chosen)", { className: "unseen" }));
    bar.style.width = `${100 * row.value / most}%`;
    place.append(bar);
    tr.append(th, place, make("td", row.shown));
    body.append(tr);
  }
  table.replaceChildren(head, body);
}

// A group in which the arrow keys move the focus, with one stop of the Tab key.
function roving(group, columns, choose) {
  group.addEventListener("keydown", (event) => {
    const all = [...group.querySelectorAll("button")], at = all.indexOf(document.activeElement);
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(), ArrowDown: columns() }[event.key];
    const to = event.key === "Home" ? 0 : event.key === "End" ? all.length - 1 : at + by;
    if (at < 0 || !(to >= 0 && to < all.length)) return;
    event.preventDefault();
    choose(all[to]);
    group.querySelectorAll("button")[to].focus();
  });
}

// ---------------------------------------------------------------------------------- the text at the top

const strips = data.streams.map((stream, s) => {
  const line = make("div", undefined, { className: "strip" });
  const list = make("div", undefined, { className: "tokens" });
  const select = s === last && !data.perText;
  if (data.streams.length > 1) line.append(make("span", stream.name));
  list.setAttribute("role", select ? "listbox" : "list");
  list.setAttribute("aria-label", select ? `Tokens of the ${stream.name}: choose a position` : `The ${stream.name}`);
  if (select) list.setAttribute("aria-orientation", "horizontal");
  list.tabIndex = 0;
  stream.ids.forEach((id, t) => {
    const written = data.byModel && s === last && t >= data.given;
    const item = make("span", tokenName(id), { className: `token${written ? " written" : ""}`, id: `token-${s}-${t}` });
    item.setAttribute("role", select ? "option" : "listitem");
    item.title = `position ${t + 1}, id ${id}${written ? ", written by the model" : ""}`;
    if (select) item.addEventListener("click", () => choose(t));
    list.append(item);
  });
  if (select) list.addEventListener("keydown", (event) => {
    const to = { ArrowLeft: chosen.output - 1, ArrowRight: chosen.output + 1, Home: 0, End: outputs - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    if (to >= 0 && to < outputs) choose(to);
  });
  line.append(list);
  find("strips").append(line);
  return list;
});

function drawStrips() {
  const o = chosen.output, causal = !data.masked && !data.perText;
  const most = Math.max(...gradient.flatMap((values, s) => row(values, s).map(Math.abs)));
  strips.forEach((list, s) => row(gradient[s], s).forEach((value, t) => {
    const item = list.children[t];
    item.style.background = tint(value, most);
    item.classList.toggle("later", s === last && causal && t > o);
    if (list.getAttribute("role") === "listbox") item.setAttribute("aria-selected", String(t === o));
  }));
  const list = strips[last], item = list.children[o];
  if (!data.perText) {
    list.setAttribute("aria-activedescendant", item.id);
    list.scrollTo({ left: item.offsetLeft - list.offsetLeft - list.clientWidth / 2 });
    if (item.offsetTop - list.offsetTop < list.scrollTop || item.offsetTop - list.offsetTop > list.scrollTop +
      list.clientHeight - 20) list.scrollTop = item.offsetTop - list.offsetTop - 20;
  }
  const target = name(data.targets[o]), p = Math.exp(-surprise[o]);
  const place = data.perText ? "The label" : data.masked ? `At position ${o + 1}, “${token(last, o)}”,`
    : `After position ${o + 1}, “${token(last, o)}”,`;
  const written = data.byModel && o + 1 >= data.given;
  const what = !data.known[o] ? "the model predicts" : data.masked ? "stands"
    : written ? "the model writes" : "the text has";
  find("status").textContent = data.perText
    ? `The model chooses the label “${target}”: probability ${number(p)}.`
    : `${place} ${what} “${target}”: probability ${number(p)}, ${number(surprise[o])} nats of surprise.`;
}

const row = (values, s) => Array.from(values.subarray(chosen.output * lengths[s], (chosen.output + 1) * lengths[s]));

// ------------------------------------------------------------------------------------------ the panels

function drawNext() {
  const o = chosen.output, rows = [];
  for (let i = 0; i < best.count; i++) {
    const id = best.ids[o * best.count + i], p = best.p[o * best.count + i];
    rows.push({ label: name(id), value: p, shown: number(p), target: id === data.targets[o] });
  }
  bars(find("next-bars"), [data.perText ? "Label" : "Token", "", "Probability"], rows);
  const outside = rows.some((r) => r.target) ? "" : ` The text’s token “${name(data.targets[o])}” is not among them: ` +
    `probability ${Math.exp(-surprise[o]).toExponential(2)}.`;
  find("next-more").textContent = `Entropy: ${number(entropy[o])} nats.${outside}`;
}

function drawSaliency() {
  const all = gradient.map(row), most = Math.max(...all.flat().map(Math.abs));
  const causal = !data.masked && !data.perText;
  const place = find("saliency-tokens"), table = find("saliency-table");
  place.replaceChildren();
  const listed = [];
  all.forEach((values, s) => {
    const line = make("div", undefined, { className: "line" });
    line.setAttribute("aria-hidden", "true");  // the table below says the same
    values.forEach((value, t) => {
      if (s === last && causal && t > chosen.output) return;
      const chip = make("span", token(s, t), { className: "chip name" });
      chip.append(make("small", brief(value)));
      chip.style.background = tint(value, most);
      line.append(chip);
      listed.push([data.streams[s].name, t + 1, token(s, t), signed(value)]);
    });
    place.append(line);
  });
  grid(table, ["Stream", "Position", "Token", "Gradient × input"], listed);
}

function grid(table, heads, rows, rowHead = 2) {
  const head = make("thead"), line = make("tr"), body = make("tbody");
  heads.forEach((text) => line.append(make("th", text, { scope: "col" })));
  head.append(line);
  for (const cells of rows) {
    const tr = make("tr");
    cells.forEach((text, i) => tr.append(i === rowHead ? make("th", text, { scope: "row" }) : make("td", text)));
    body.append(tr);
  }
  table.replaceChildren(head, body);
}

function drawLens() {
  const o = chosen.output, head = make("thead"), line = make("tr"), body = make("tbody");
  const target = name(data.targets[o]);
  const titles = ["Layer", `P(${target})`, "Rank", ...Array.from({ length: lens.count }, (_, i) => `${i + 1}.`)];
  titles.forEach((text) => line.append(make("th", text, { scope: "col" })));
  head.append(line);
  for (let n = 0; n < lens.layers; n++) {
    const tr = make("tr");
    tr.append(make("th", n ? `Block ${n}` : "Embeddings", { scope: "row" }),
      make("td", number(lens.targetP[n * outputs + o]), { className: "number" }),
      make("td", String(lens.targetRank[n * outputs + o]), { className: "number" }));
    for (let i = 0; i < lens.count; i++) {
      const at = (n * outputs + o) * lens.count + i, td = make("td");
      td.append(make("span", name(lens.ids[at]), { className: "name" }), " ",
        make("small", lens.p[at].toFixed(2)));
      td.style.background = tint(lens.p[at], 1);
      if (lens.ids[at] === data.targets[o]) td.style.fontWeight = "700";
      tr.append(td);
    }
    body.append(tr);
  }
  find("lens-table").replaceChildren(head, body);
}

// -------------------------------------------------------------------------------------------- attention

kinds.forEach((kind) => {
  const button = make("button", kind.label, { type: "button" });
  button.setAttribute("role", "radio");
  button.addEventListener("click", () => chooseHead(kind, Math.min(chosen.layer, kind.layers - 1),
    Math.min(chosen.head, kind.heads - 1)));
  find("kinds").append(button);
});
find("kinds").hidden = kinds.length === 1;
roving(find("kinds"), () => 1, (button) => button.click());

function smallMap(kind, layer, head) {
  const canvas = make("canvas", undefined, { width: kind.S, height: kind.T });
  const pen = canvas.getContext("2d"), image = pen.createImageData(kind.S, kind.T);
  const [r, g, b] = colors["--plus"].split(",").map(Number);
  for (let t = 0, i = 0; t < kind.T; t++) for (let s = 0; s < kind.S; s++, i += 4)
    image.data.set([r, g, b, 255 * Math.sqrt(weight(kind, layer, head, t, s))], i);
  pen.putImageData(image, 0, 0);
  return canvas;
}

let drawnKind = null;
function drawHeads() {
  const kind = chosen.kind, place = find("heads");
  [...find("kinds").children].forEach((button, i) => {
    button.setAttribute("aria-checked", String(kinds[i] === kind));
    button.tabIndex = kinds[i] === kind ? 0 : -1;
  });
  if (drawnKind !== kind) {
    drawnKind = kind;
    const parts = [make("span", "")];  // all are put into the page at once
    const size = Math.max(24, Math.min(84, 460 / kind.heads));
    place.style.gridTemplateColumns = `auto repeat(${kind.heads}, minmax(24px, ${size}px))`;
    for (let h = 0; h < kind.heads; h++) parts.push(make("span", `${h + 1}`, { className: "column" }));
    for (let l = 0; l < kind.layers; l++) {
      parts.push(make("span", `${l + 1}`));
      for (let h = 0; h < kind.heads; h++) {
        const button = make("button", undefined, { type: "button" });
        button.append(smallMap(kind, l, h));
        button.addEventListener("click", () => chooseHead(kind, l, h));
        parts.push(button);
      }
    }
    place.replaceChildren(...parts);
  }
  [...place.querySelectorAll("button")].forEach((button, i) => {
    const pressed = i === chosen.layer * kind.heads + chosen.head, l = Math.floor(i / kind.heads), h = i % kind.heads;
    const q = query(), weights = Array.from({ length: kind.S }, (_, s) => weight(kind, l, h, q, s));
    const most = Math.max(...weights), key = token(kind.keys, weights.indexOf(most));
    button.title = `Block ${l + 1}, head ${h + 1}: “${token(kind.queries, q)}” looks most at “${key}”, ${number(most)}`;
    button.setAttribute("aria-label", button.title);
    button.setAttribute("aria-pressed", String(pressed));
    button.tabIndex = pressed ? 0 : -1;
    if (pressed) show(button, place.parentElement);
  });
}

// Scroll a box, and not the page, until an element in it can be seen.
function show(element, box) {
  const inner = element.getBoundingClientRect(), outer = box.getBoundingClientRect();
  if (inner.top < outer.top || inner.bottom > outer.bottom) box.scrollTop += inner.top - outer.top - box.clientHeight / 2;
}
roving(find("heads"), () => chosen.kind.heads, (button) => button.click());

// The row of the large map: the chosen position, where its stream asks; else the first row, or what was pointed at.
const query = () => chosen.query ?? (chosen.kind.queries === last && !data.perText ? chosen.output : 0);

function layout() {
  const kind = chosen.kind, canvas = find("map"), width = canvas.clientWidth || 300;
  const named = Math.max(kind.T, kind.S) <= 48;
  const left = named ? Math.min(90, width * 0.24) : 4, above = named ? Math.min(74, width * 0.2) : 4;
  const cell = Math.min((width - left - 4) / kind.S, 34);
  return { kind, canvas, width, named, left, above, cell, height: above + cell * kind.T + 4 };
}

function drawMap() {
  const { kind, canvas, width, named, left, above, cell, height } = layout(), { layer, head } = chosen;
  const scale = window.devicePixelRatio || 1, pen = canvas.getContext("2d"), q = query();
  canvas.style.height = `${height}px`;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  pen.scale(scale, scale);
  pen.imageSmoothingEnabled = false;
  pen.fillStyle = colors["--page"];
  pen.fillRect(left, above, cell * kind.S, cell * kind.T);
  pen.drawImage(smallMap(kind, layer, head), left, above, cell * kind.S, cell * kind.T);
  pen.strokeStyle = colors["--accent"];
  pen.lineWidth = 1.5;
  pen.strokeRect(left, above + q * cell, cell * kind.S, cell);
  if (chosen.key !== null) pen.strokeRect(left + chosen.key * cell, above + q * cell, cell, cell);
  if (named) {
    const font = Math.max(6, Math.min(12, cell * 0.85));
    pen.font = `${font}px ui-monospace, "DejaVu Sans Mono", monospace`;
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    const fit = (text, room) => text.length * font * 0.62 > room ? text.slice(0, room / font / 0.62 - 1) + "…" : text;
    for (let t = 0; t < kind.T; t++) {
      pen.fillStyle = colors[t === q ? "--accent" : "--ink"];
      pen.fillText(fit(token(kind.queries, t), left - 6), left - 4, above + (t + 0.5) * cell);
    }
    pen.textAlign = "left";
    for (let s = 0; s < kind.S; s++) {
      pen.save();
      pen.translate(left + (s + 0.5) * cell, above - 4);
      pen.rotate(-Math.PI / 2);
      pen.fillStyle = colors[s === chosen.key ? "--accent" : "--ink"];
      pen.fillText(fit(token(kind.keys, s), above - 6), 0, 0);
      pen.restore();
    }
  }
  describeMap();
}

function describeMap() {
  const { kind, layer, head } = chosen, q = query(), from = token(kind.queries, q);
  const title = `${kind.label}: block ${layer + 1}, head ${head + 1}`;
  find("map-h").textContent = title;
  const weights = Array.from({ length: kind.S }, (_, s) => weight(kind, layer, head, q, s));
  const order = weights.map((_, s) => s).sort((a, b) => weights[b] - weights[a]).slice(0, 8)
    .filter((s, i) => i === 0 || weights[s] >= 0.001);
  const key = chosen.key ?? order[0];
  find("map").setAttribute("aria-label", `${title}. ${kind.T} rows, ${kind.S} columns; arrow keys choose a cell.`);
  find("map-status").textContent = `From “${from}” (${q + 1}) to “${token(kind.keys, key)}” (${key + 1}): weight ` +
    `${number(weights[key])}.`;
  bars(find("row-bars"), [`“${from}” looks at`, "", "Weight"], order.map((s) => ({ label: `${s + 1} ${token(kind.keys, s)}`,
    value: weights[s], shown: number(weights[s]), target: s === chosen.key })));
  if (find("map-table").closest("details").open) drawTable();
}

function drawTable() {
  const { kind, layer, head } = chosen, rows = [];
  const keys = Array.from({ length: kind.S }, (_, s) => s);
  for (let t = 0; t < kind.T; t++) rows.push([token(kind.queries, t), ...keys.map((s) => kind.causal && s > t ? ""
    : weight(kind, layer, head, t, s).toFixed(3))]);
  grid(find("map-table"), ["from / to", ...keys.map((s) => token(kind.keys, s))], rows, 0);
}
find("map-table").closest("details").addEventListener("toggle", drawTable);

function pointAt(event) {
  const { kind, canvas, left, above, cell } = layout(), box = canvas.getBoundingClientRect();
  const s = Math.floor((event.clientX - box.left - left) / cell), t = Math.floor((event.clientY - box.top - above) / cell);
  if (s < 0 || t < 0 || s >= kind.S || t >= kind.T) return;
  [chosen.query, chosen.key] = [t, s];
  drawMap();
}
// A screen reader follows the cells of the map only while the map has the focus.
find("map").addEventListener("focus", () => find("map-status").setAttribute("aria-live", "polite"));
find("map").addEventListener("blur", () => find("map-status").setAttribute("aria-live", "off"));
find("map").addEventListener("pointermove", pointAt);
find("map").addEventListener("pointerdown", pointAt);
find("map").addEventListener("keydown", (event) => {
  const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
  if (!move) return;
  event.preventDefault();
  const inside = (x, size) => Math.max(0, Math.min(size - 1, x));
  chosen.query = inside(query() + move[0], chosen.kind.T);
  chosen.key = inside((chosen.key ?? 0) + move[1], chosen.kind.S);
  drawMap();
});

// ------------------------------------------------------------------------------------- switched-off heads

const effectButtons = [];
const MOST_ROWS = 12;  // of a table; a deeper model gets several beside each other
kinds.forEach((kind) => {
  const place = make("div"), tables = make("div", undefined, { className: "tables" });
  const rows = Math.ceil(kind.layers / Math.ceil(kind.layers / MOST_ROWS));
  place.append(make("h3", `${kind.label} (rows: blocks, columns: heads)`), tables);
  for (let first = 0; first < kind.layers; first += rows) {
    const part = make("div", undefined, { className: "scroll" });
    part.append(effectTable(kind, first, Math.min(first + rows, kind.layers)));
    tables.append(part);
  }
  roving(tables, () => kind.heads, (button) => button.click());
  find("ablation-grids").append(place);
});

function effectTable(kind, first, end) {
  const table = make("table"), line = make("tr");
  table.setAttribute("aria-label", `${kind.label}, blocks ${first + 1} to ${end}: change in nats without a head`);
  line.append(make("th", "", { scope: "col" }));
  for (let h = 0; h < kind.heads; h++) line.append(make("th", `${h + 1}`, { scope: "col" }));
  table.append(line);
  for (let l = first; l < end; l++) {
    const tr = make("tr");
    tr.append(make("th", `${l + 1}`, { scope: "row" }));
    for (let h = 0; h < kind.heads; h++) {
      const td = make("td"), button = make("button", "", { type: "button", tabIndex: l + h ? -1 : 0 });
      button.addEventListener("click", () => chooseHead(kind, l, h));
      effectButtons.push({ button, kind, l, h });
      td.append(button);
      tr.append(td);
    }
    table.append(tr);
  }
  return table;
}

function drawEffects() {
  const o = chosen.output;
  find("ablation-token").textContent = `“${name(data.targets[o])}”`;
  // The strongest color is for the largest change, but not for one that is close to nothing.
  const most = Math.max(0.1, ...effectButtons.map(({ kind, l, h }) => Math.abs(effect(kind, l, h, o))));
  for (const { button, kind, l, h } of effectButtons) {
    const x = effect(kind, l, h, o), here = kind === chosen.kind && l === chosen.layer && h === chosen.head;
    button.textContent = brief(x);
    button.style.background = tint(x, most);
    button.setAttribute("aria-label", `Block ${l + 1}, head ${h + 1}: ${signed(x)} nats`);
    button.setAttribute("aria-pressed", String(here));
    if (kind === chosen.kind) button.tabIndex = here ? 0 : -1;
  }
}

// -------------------------------------------------------------------------------------- step by step

function drawStep() {
  find("stepper").hidden = !steps.length;
  if (!steps.length) return;
  const step = steps[chosen.step], so = find("so-far");
  find("step-number").textContent = `Step ${chosen.step + 1} of ${steps.length}`;
  find("back").disabled = chosen.step === 0;
  find("forth").disabled = chosen.step === steps.length - 1;
  so.replaceChildren();
  if (data.masked) {
    const filled = new Map(steps.slice(0, chosen.step + 1).map((s) => [s.output, s.chosen]));
    data.streams[last].ids.forEach((id, t) => so.append(t === step.output ? make("mark", tokenName(step.chosen))
      : tokenName(filled.get(t) ?? id)));
  } else {
    so.append(make("span", data.streams[last].ids.slice(0, data.given).map(tokenName).join(""), { className: "given" }));
    so.append(data.streams[last].ids.slice(data.given, step.output + 1).map(tokenName).join(""));
    so.append(make("mark", tokenName(step.chosen)));
  }
  bars(find("step-bars"), ["Token", "", "Probability"], step.ids.map((id, i) => ({ label: tokenName(id),
    value: step.p[i], shown: number(step.p[i]), target: id === step.chosen })));
}

function chooseStep(n) {
  chosen.step = Math.max(0, Math.min(steps.length - 1, n));
  if (steps.length) choose(steps[chosen.step].output);
}
find("back").addEventListener("click", () => chooseStep(chosen.step - 1));
find("forth").addEventListener("click", () => chooseStep(chosen.step + 1));
find("steps").addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!by) return;
  event.preventDefault();
  chooseStep(chosen.step + by);
});

// ------------------------------------------------------------------------------------ changes, and the start

function choose(output) {
  chosen.output = output;
  [chosen.query, chosen.key] = [null, null];
  const step = steps.findIndex((s) => s.output === output);
  if (step >= 0) chosen.step = step;
  draw();
}

function chooseHead(kind, layer, head) {
  Object.assign(chosen, { kind, layer, head, query: null, key: null });
  drawHeads();
  drawMap();
  drawEffects();
}

function draw() {
  for (const part of [drawStrips, drawNext, drawSaliency, drawLens, drawHeads, drawMap, drawEffects, drawStep]) part();
}

data.facts.forEach(([term, text]) => {
  const pair = make("div");
  pair.append(make("dt", term), make("dd", text));
  find("facts").append(pair);
});
if (data.perText) find("next-h").textContent = "Which label fits";
if (data.masked) find("next-h").textContent = "What could stand here";
find("next-why").textContent = data.perText ? "The probability of each label for the whole text."
  : data.masked ? "The probability of each token at the chosen position, from the whole text. Where the token is " +
    "visible, the model may simply copy it; put [MASK] into the prompt to hide one."
  : "The probability of each token after the chosen position. The token that follows in the text is bold.";
find("steps-why").textContent = data.perText ? "A classification has a single step: reading the text."
  : data.masked ? (steps.length ? "The hidden tokens are filled one at a time, the most certain one first."
    : "Put [MASK] into the prompt: then the model fills the hidden tokens one at a time.")
  : !steps.length ? "No token was generated: give --new-tokens."
  : data.byModel ? "The model writes one token at a time, and reads it before it writes the next. Here it always " +
    "takes the most probable one; the numbers are probabilities."
  : "The given target, token by token: what the model would have written at each step, and the given token (bold).";
const strongest = effectButtons.reduce((a, b) => effect(a.kind, a.l, a.h, begin) >= effect(b.kind, b.l, b.h, begin)
  ? a : b);
Object.assign(chosen, { kind: strongest.kind, layer: strongest.l, head: strongest.h });
window.addEventListener("resize", drawMap);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  drawnKind = null;
  readColors();
  draw();
});
draw();
