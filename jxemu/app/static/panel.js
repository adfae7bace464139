// The page: built from the tables the instrument sends, kept in step with what it says.

export { $, canvas, css, line, make, tell };

const $ = (id) => document.getElementById(id);
const MOST_LINES = 400;
const controls = new Map(); // "parameter.vcf_freq" -> what shows and sets it
let socket, tables, state, browser = [], half = "upper", learning = false;

// --- the connection ---

function connect() {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`);
  socket.onopen = () => { $("lost").hidden = true; watch(); };
  socket.onmessage = (event) => { const message = JSON.parse(event.data); hear[message.is]?.(message); };
  socket.onclose = () => { $("lost").hidden = false; setTimeout(connect, 1000); };
}

function ask(what, rest = {}) {
  if (!["set", "note", "watch", "control"].includes(what)) for (const held of controls.values()) held.busyUntil = 0;
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ do: what, ...rest }));
}

const hear = {
  tables(message) { if (!tables) { tables = message; build(); } },
  state(message) { state = message; showState(); },
  browser(message) { browser = message.rows; showBrowser(); showMatched(message.matched); },
  meters: showMeters,
  say: (message) => tell(message.text),
  error: (message) => tell(message.text, true),
  scope: drawScope, spectrum: drawSpectrum, machine: drawMachine,
  wire: showWire, latch: showLatch, monitor: showMonitor,
};

function tell(text, wrong = false) {
  const line = document.createElement("div");
  line.textContent = text;
  if (wrong) line.className = "error";
  $("say").prepend(line);
  while ($("say").children.length > 30) $("say").lastChild.remove();
}

// --- building the page ---

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const TITLES = { dco: "DCO", mixer: "MIXER", hpf: "HPF", vcf: "VCF", vca: "VCA", chorus: "CHORUS", lfo: "LFO", env1: "ENV-1", env2: "ENV-2", dco1: "DCO-1", dco2: "DCO-2" };
const GROUPS = [["Keyboard", /^(key_mode|balance|dual_detune|.*_split|t_|volume$)/], ["Upper", /^upper_/], ["Lower", /^lower_/], ["Bend and portamento", /^(bend|portamento)/], ["Aftertouch", /^after_/], ["Chase play", /^chase/]];

function build() {
  for (const section of tables.sections) {
    const rows = tables.parameters.filter((row) => row.section === section);
    const box = make("div", { class: "controls" }, ...rows.map((row) => control("parameter", row, shorter(row.text, section))));
    const lock = make("label", { class: "lock" }, make("input", { type: "checkbox", class: "locked", value: section, "aria-label": `lock ${TITLES[section]}` }), "lock");
    $("sections").append(make("section", { class: "section", "aria-label": TITLES[section] }, make("header", {}, make("h2", {}, TITLES[section]), lock), box));
  }
  for (const [title, pattern] of GROUPS) {
    const rows = tables.settings.filter((row) => pattern.test(row.name) && !controls.has(`setting.${row.name}`));
    const box = make("div", { class: "controls" }, ...rows.map((row) => control("setting", row, row.text)));
    $("settings").append(make("section", { class: "section", "aria-label": title }, make("header", {}, make("h2", {}, title)), box));
  }
  for (const format of tables.formats) $("downloads").append(" ", make("a", { "data-format": format, download: "" }, format));
  showDownloads();
  for (const name of ["mode", "division"]) {
    for (const value of tables.arpeggiator[name]) $(`arp-${name}`).append(make("option", {}, value));
  }
  buildPiano();
}

function showDownloads() {
  const there = browser.some((row) => row.place === $("place").value);
  for (const link of $("downloads").querySelectorAll("a")) link.hidden = !there;
  for (const link of $("downloads").querySelectorAll("a")) link.href = `/bank/${$("place").value}.${link.dataset.format}`;
}

function shorter(text, section) {
  return text.replace(/^(DCO-1|DCO-2|MIXER|VCF|VCA|LFO|ENV-1|ENV-2|DCO) (?=.)/, "") || TITLES[section];
}

function control(kind, row, words) {
  const id = `${kind}-${row.name}`;
  const held = { kind, row, busyUntil: 0 };
  controls.set(`${kind}.${row.name}`, held);
  const isSwitch = row.labels.length > 0;
  if (row.name.endsWith("_tone")) return toneControl(held, id, words);
  if (isSwitch && (row.labels.length > 4 || kind === "setting")) {
    const select = make("select", { id, onchange: () => move(held, +select.value) }, ...row.words.map((word, n) => make("option", { value: String(n) }, word)));
    held.show = (value) => { select.value = value; };
    held.element = make("div", { class: "control" }, make("label", { for: id }, words), select);
  } else if (isSwitch) {
    const radios = row.words.map((word, n) => make("input", { type: "radio", name: id, value: String(n), onchange: () => move(held, n) }));
    held.show = (value) => radios.forEach((radio, n) => { radio.checked = n === value; });
    held.element = make("fieldset", { class: "control switch", id }, make("legend", {}, words), ...radios.map((radio, n) => make("label", {}, radio, row.words[n])));
  } else {
    const output = make("output", { for: id });
    const range = make("input", { type: "range", id, min: String(row.low), max: String(row.top), "aria-label": row.text, oninput: () => { word(+range.value); move(held, +range.value); } });
    const word = (value) => { output.textContent = row.words[value - row.low] ?? value; range.setAttribute("aria-valuetext", output.textContent); };
    held.show = (value) => { range.value = value; word(value); };
    held.element = make("div", { class: "control" }, make("label", { for: id }, words), range, output);
  }
  return learnable(held);
}

function learnable(held) {
  held.element.addEventListener("pointerdown", (event) => learnThis(held, event));
  held.element.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") learnThis(held, event); });
  return held.element;
}

function toneControl(held, id, words) {
  const select = make("select", { id, onchange: () => move(held, +select.value) });
  held.show = (value) => {
    if (![...select.options].some((option) => option.value === String(value))) select.append(make("option", { value: String(value) }, String(value + 1)));
    select.value = value;
  };
  held.fill = () => {
    const chosen = select.value;
    select.replaceChildren(...browser.filter((row) => row.kind === "tone" && row.place === "internal").map((row) => make("option", { value: String(row.number) }, `${row.number + 1} ${row.name}`)));
    if (chosen) held.show(+chosen);
  };
  held.element = make("div", { class: "control" }, make("label", { for: id }, words), select);
  return learnable(held);
}

// --- controls ---

const waiting = new Map();
let settling; // when nothing is moved any more, everything shows what the instrument says

function move(held, value) {
  held.busyUntil = performance.now() + 500;
  clearTimeout(settling);
  settling = setTimeout(showState, 550);
  if (!waiting.size) setTimeout(send, 16);
  waiting.set(held, value);
}

function send() {
  for (const [held, value] of waiting) {
    ask("set", { kind: held.kind, name: held.row.name, value, part: held.kind === "parameter" ? part() : "control" });
  }
  waiting.clear();
}

function part() {
  return state && state.halves.length > 1 ? half : "control";
}

function shown() {
  return state.halves.includes(half) ? half : state.halves[0];
}

function showState() {
  if (!tables || !state) return;
  showHalves();
  const now = performance.now();
  for (const held of controls.values()) {
    const values = held.kind === "parameter" ? state[shown()].values : state.patch.values;
    if (now > held.busyUntil) held.show(values[held.row.name]);
    const cc = state.learned.find((row) => row.kind === held.kind && row.name === held.row.name);
    held.element.querySelector(".badge")?.remove();
    if (cc) held.element.append(make("span", { class: "badge" }, `CC ${cc.controller}`));
  }
  const mark = state.edited ? "*" : " ";
  $("playing").textContent = `${String(state.program + 1).padStart(3)} ${state.patch.name.padEnd(18)}${mark}`;
  $("undo").disabled = !state.undo;
  $("redo").disabled = !state.redo;
  $("undo").setAttribute("aria-label", `Undo, ${state.undo} steps`);
  $("redo").setAttribute("aria-label", `Redo, ${state.redo} steps`);
  press("compare", state.comparing);
  press("record", Boolean(state.recording));
  if (learning && !state.learning && learning !== "choose") { learning = false; tell("learned"); }
  press("learn", Boolean(learning));
  document.body.classList.toggle("learning", learning === "choose");
  for (const [name, value] of Object.entries(state.arpeggiator)) {
    const input = $(`arp-${name}`);
    if (document.activeElement === input) continue;
    if (input.type === "checkbox") input.checked = value;
    else input.value = name === "gate" ? Math.round(value * 100) : value;
  }
  $("send-edits").checked = state.send_edits;
  if (now > (performing.hold ?? 0)) $("hold").checked = state.controls.hold > 0;
  for (const name of PERFORMANCE) if (now > (performing[name] ?? 0)) { $(name).value = state.controls[name]; wordPerformance(name); }
  offer("tone", shown() + state.program, state.patch.values[`${shown()}_tone`] + 1, state[shown()].name);
  offer("patch", state.program, Math.min(state.program, 63) + 1, state.patch.name);
  refill("learned", state.learned, () => state.learned.map((row) => make("li", {}, `CC ${row.controller}: ${row.name} (${row.part}) `,
    make("button", { type: "button", "aria-label": `Forget CC ${row.controller}`, onclick: () => ask("forget", { control: { kind: row.kind, name: row.name, part: row.part } }) }, "forget"))));
  refill("taken", state.taken, () => state.taken.map((name) => make("li", {}, make("a", { href: `/take/${name}`, download: "" }, name))));
}

function offer(kind, where, number, name) { // where to write and as what; what was typed stays until another sound plays
  const key = JSON.stringify([where, number, name]);
  const fields = [$(`${kind}-number`), $(`${kind}-name`)];
  if (fields[0].dataset.key === key || fields.includes(document.activeElement)) return;
  fields[0].dataset.key = key;
  fields[0].value = number;
  fields[1].value = name;
}

function refill(id, rows, items) { // only when it changed: what has the focus keeps it
  const key = JSON.stringify(rows);
  if ($(id).dataset.key === key) return;
  $(id).dataset.key = key;
  $(id).replaceChildren(...items());
}

function press(id, on) {
  $(id).setAttribute("aria-pressed", String(on));
}

function showHalves() {
  const key = state.halves.join();
  if ($("half").dataset.key === key) {
    $("half").querySelectorAll("span").forEach((span) => { span.textContent = `${span.dataset.half}: ${state[span.dataset.half].name}`; });
    return;
  }
  $("half").dataset.key = key;
  $("half").replaceChildren(make("legend", {}, "Half"), ...state.halves.map((name) => {
    const radio = make("input", { type: "radio", name: "half", value: name, onchange: () => { half = name; showState(); } });
    radio.checked = name === shown();
    return make("label", {}, radio, make("span", { "data-half": name }, `${name}: ${state[name].name}`));
  }));
  half = shown();
}

function showMeters(now) {
  $("m-load").textContent = `${Math.round(now.load * 100)} %`;
  $("m-latency").textContent = `${(now.latency * 1000).toFixed(1)} ms`;
  $("m-late").textContent = now.late_blocks;
  $("m-xruns").textContent = now.xruns;
  $("m-level").textContent = now.level.map((db) => (db < -90 ? "-" : `${Math.round(db)}`)).join(", ") + " dB";
  $("ports").textContent = `Sound: ${now.driver}, ${now.rate} Hz, blocks of ${now.block}. MIDI in: ${now.inputs.join(", ") || "none"}. ` +
    `MIDI out: ${state?.midi_out || "none"}.${now.tempo ? ` Clock: ${now.tempo} beats a minute.` : ""}` +
    `${now.notes_left_out ? ` Keys left out because the wire was full: ${now.notes_left_out}.` : ""}`;
}

// --- learn ---

function learnThis(held, event) {
  if (learning !== "choose") return;
  event.preventDefault();
  learning = "move";
  const name = held.row.name;
  ask("learn", { control: { kind: held.kind, name, part: held.kind === "parameter" ? part() : "control" } });
  tell(`move a controller for ${held.row.text}`);
}

const PERFORMANCE = ["bend", "modulation", "aftertouch", "volume"];
for (const name of [...PERFORMANCE, "hold"]) learnable({ kind: "control", row: { name, text: name }, element: $(name).closest("label") });

$("learn").onclick = () => {
  if (learning) { learning = false; ask("learn"); } else { learning = "choose"; tell("choose a control (click it, or Enter on it), then move a controller"); }
  press("learn", Boolean(learning));
  document.body.classList.toggle("learning", learning === "choose");
};

// --- the head's buttons ---

for (const name of ["undo", "redo", "compare", "panic"]) $(name).onclick = () => ask(name);
$("record").onclick = () => ask("record", { on: !state.recording });
$("previous").onclick = () => ask("step", { way: -1 });
$("next").onclick = () => ask("step", { way: 1 });
const locked = () => [...document.querySelectorAll(".locked:checked")].map((box) => box.value);
$("random").onclick = () => ask("random", { half: shown(), locked: locked() });
$("mutate").onclick = () => ask("mutate", { half: shown(), locked: locked(), amount: $("amount").value / 100 });
for (const id of ["amount", "morph"]) {
  $(id).addEventListener("input", () => { $(`${id}-words`).textContent = `${$(id).value} %`; $(id).setAttribute("aria-valuetext", `${$(id).value} %`); });
}
$("morph").addEventListener("change", () => {
  const [place, number] = $("morph-to").value.split(" ");
  if (place) ask("morph", { place, number: +number, x: $("morph").value / 100, half: shown(), locked: locked() });
});
$("tone-store").onclick = () => ask("store", { kind: "tone", number: +$("tone-number").value - 1, name: $("tone-name").value, half: shown() });
$("patch-store").onclick = () => ask("store", { kind: "patch", number: +$("patch-number").value - 1, name: $("patch-name").value });

document.addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z" || /^(text|search|number)$/.test(event.target.type)) return;
  event.preventDefault();
  ask(event.shiftKey ? "redo" : "undo");
});

// --- pages ---

const tabs = [...document.querySelectorAll("[role=tab]")];
const WATCH = { "tab-views": ["scope", "spectrum", "machine"], "tab-wire": ["wire", "latch"], "tab-midi": ["monitor"] };
let open = tabs[0];

function turnTo(tab, focus) {
  open = tab;
  for (const other of tabs) {
    other.setAttribute("aria-selected", String(other === tab));
    other.tabIndex = other === tab ? 0 : -1;
    $(other.getAttribute("aria-controls")).hidden = other !== tab;
  }
  if (focus) tab.focus();
  document.dispatchEvent(new CustomEvent("page", { detail: tab.id }));
  watch();
}

function watch() {
  ask("watch", { views: WATCH[open.id] ?? [] });
}

tabs.forEach((tab, n) => {
  tab.onclick = () => turnTo(tab);
  tab.onkeydown = (event) => {
    const to = { ArrowRight: n + 1, ArrowLeft: n - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to !== undefined) { event.preventDefault(); turnTo(tabs[(to + tabs.length) % tabs.length], true); }
  };
});

// --- the browser ---

for (const id of ["search", "kind", "tag", "favourites"]) $(id).addEventListener("input", showBrowser);

let postponed = false; // rows are not made anew under somebody's hands
$("rows").addEventListener("focusout", () => setTimeout(() => { if (postponed) showBrowser(); }));

function showBrowser() {
  const words = $("search").value.toLowerCase(), kind = $("kind").value, tag = $("tag").value;
  const tags = [...new Set(browser.flatMap((row) => row.tags))].sort();
  $("tag").replaceChildren(make("option", { value: "" }, "any"), ...tags.map((name) => make("option", {}, name)));
  $("tag").value = tags.includes(tag) ? tag : "";
  const held = document.activeElement?.closest("#rows") ? document.activeElement : null;
  postponed = held?.type === "text";
  if (postponed) return;
  const rows = browser.filter((row) => (!kind || row.kind === kind) && (!$("favourites").checked || row.favourite) && (!$("tag").value || row.tags.includes($("tag").value))
    && (!words || row.name.toLowerCase().includes(words) || row.tags.some((name) => name.toLowerCase().includes(words))));
  $("count").textContent = `${rows.length} of ${browser.length}`;
  $("rows").tBodies[0].replaceChildren(...rows.map(browserRow));
  if (held) [...$("rows").querySelectorAll("[data-place]")].find((element) => element.dataset.place === held.dataset.place)?.focus();
  const chosen = $("morph-to").value;
  $("morph-to").replaceChildren(...browser.filter((row) => row.kind === "tone").map((row) => make("option", { value: `${row.place} ${row.number}` }, row.name)));
  if (chosen) $("morph-to").value = chosen;
  showDownloads();
  for (const half of ["upper", "lower"]) controls.get(`setting.${half}_tone`)?.fill();
}

function browserRow(row) {
  const place = `${row.kind} ${row.place} ${row.number}`;
  const load = make("button", { type: "button", "data-place": `${place} load`, onclick: () => ask("load", { kind: row.kind, place: row.place, number: row.number, half: row.kind === "tone" ? part() : "control" }) }, row.name || "(no name)");
  const star = make("button", { type: "button", "data-place": `${place} star`, "aria-pressed": String(row.favourite), "aria-label": `favourite ${row.name}`, onclick: () => ask("mark", { key: row.key, favourite: !row.favourite }) }, row.favourite ? "★" : "☆");
  const tags = make("input", { type: "text", "data-place": `${place} tags`, value: row.tags.join(", "), "aria-label": `tags of ${row.name}`, onchange: () => ask("mark", { key: row.key, tags: tags.value.split(",").map((word) => word.trim()).filter(Boolean) }) });
  return make("tr", {}, make("td", {}, String(row.number + 1)), make("td", {}, load), make("td", {}, row.kind), make("td", {}, row.place), make("td", {}, star), make("td", {}, tags));
}

async function takeFile(file) {
  try {
    const answer = await fetch(`/bank?place=${$("place").value}&name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
    tell(await answer.text(), !answer.ok);
  } catch (error) {
    tell(`${file.name} could not be sent: ${error.message}`, true);
  }
}

const SOUND = /\.(wav|flac|ogg|aiff?|mp3)$/i;

async function takeSound(file) {
  const begun = Date.now();
  const timer = setInterval(() => { $("matching").textContent = `listening to ${file.name}, ${Math.round((Date.now() - begun) / 1000)} s`; }, 500);
  turnTo($("tab-browser"));
  try {
    const answer = await fetch(`/sound?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
    tell(await answer.text(), !answer.ok);
  } catch (error) {
    tell(`${file.name} could not be sent: ${error.message}`, true);
  } finally {
    clearInterval(timer);
    $("matching").textContent = "";
  }
}

function showMatched(names) {
  $("matched").replaceChildren(...names.map((name, number) => make("button", { type: "button", onclick: () => ask("matched", { number, half: shown() }) }, name)));
}

$("sound").onchange = async () => { for (const file of $("sound").files) await takeSound(file); $("sound").value = ""; };
$("place").onchange = showDownloads;
$("file").onchange = async () => { for (const file of $("file").files) await takeFile(file); $("file").value = ""; };
document.addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dropping"); });
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dropping"); });
document.addEventListener("drop", async (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  for (const file of event.dataTransfer.files) await (SOUND.test(file.name) ? takeSound(file) : takeFile(file));
});

// --- performance ---

const performing = {}; // when each of them may be shown anew

function wordPerformance(name) {
  const value = +$(name).value;
  $(name).setAttribute("aria-valuetext", name === "bend" ? (value === 64 ? "centre" : String(value - 64)) : String(value));
}

let afterwards;

function leave(name) { // as it was set here, whatever states are on their way; then as the machine has it
  performing[name] = performance.now() + 500;
  clearTimeout(afterwards);
  afterwards = setTimeout(showState, 510);
}

function perform(name, value) {
  leave(name);
  $(name).value = value;
  wordPerformance(name);
  ask("control", { name, value });
}

for (const name of PERFORMANCE) $(name).addEventListener("input", () => perform(name, +$(name).value));
for (const event of ["pointerup", "blur"]) {
  $("bend").addEventListener(event, () => { if ($("bend").value !== "64") perform("bend", 64); });
}
$("hold").onchange = () => {
  leave("hold");
  ask("control", { name: "hold", value: $("hold").checked ? 127 : 0 });
};
$("send-edits").onchange = () => ask("send_edits", { on: $("send-edits").checked });
for (const name of ["mode", "division"]) $(`arp-${name}`).onchange = () => ask("arpeggiator", { [name]: $(`arp-${name}`).value });
for (const name of ["octaves", "tempo"]) {
  const input = $(`arp-${name}`);
  input.onchange = () => {
    input.value = Math.min(input.max, Math.max(input.min, Math.round(+input.value || 0)));
    ask("arpeggiator", { [name]: +input.value });
  };
}
$("arp-gate").oninput = () => ask("arpeggiator", { gate: $("arp-gate").value / 100 });
$("arp-latch").onchange = () => ask("arpeggiator", { latch: $("arp-latch").checked });

const LOWEST = 36, HIGHEST = 84, NAMES = ["C", "C sharp", "D", "D sharp", "E", "F", "F sharp", "G", "G sharp", "A", "A sharp", "B"];
const BLACK = new Set([1, 3, 6, 8, 10]);
const keys = new Map();
const down = new Map(); // who holds a key -> which

function buildPiano() {
  const whites = [];
  for (let note = LOWEST; note <= HIGHEST; note++) if (!BLACK.has(note % 12)) whites.push(note);
  const width = 100 / whites.length;
  for (let note = LOWEST; note <= HIGHEST; note++) {
    const black = BLACK.has(note % 12);
    const key = make("button", { type: "button", class: black ? "black" : "white", "aria-label": `${NAMES[note % 12]} ${Math.floor(note / 12) - 1}`, "data-note": String(note) });
    key.tabIndex = note === 60 ? 0 : -1;
    if (black) { const place = whites.filter((white) => white < note).length; key.style.left = `${(place - 0.3) * width}%`; key.style.width = `${0.6 * width}%`; }
    keys.set(note, key);
    $("piano").append(key);
  }
  $("keyboard").scrollLeft = 241;
  const under = (event) => document.elementFromPoint(event.clientX, event.clientY)?.closest?.("[data-note]");
  $("piano").addEventListener("pointerdown", (event) => { const key = under(event); if (key) { $("piano").setPointerCapture(event.pointerId); strike(`pointer ${event.pointerId}`, +key.dataset.note, 40 + Math.round(80 * event.offsetY / key.offsetHeight)); } });
  $("piano").addEventListener("pointermove", (event) => { const who = `pointer ${event.pointerId}`; const key = under(event); if (down.has(who) && key && +key.dataset.note !== down.get(who)) strike(who, +key.dataset.note, 100); });
  for (const end of ["pointerup", "pointercancel"]) $("piano").addEventListener(end, (event) => lift(`pointer ${event.pointerId}`));
  $("piano").addEventListener("keydown", (event) => {
    const note = +event.target.dataset.note;
    const to = { ArrowRight: note + 1, ArrowLeft: note - 1, ArrowUp: note + 12, ArrowDown: note - 12 }[event.key];
    if (to !== undefined && keys.has(to)) { event.preventDefault(); event.target.tabIndex = -1; keys.get(to).tabIndex = 0; keys.get(to).focus(); }
    if ((event.key === " " || event.key === "Enter") && !event.repeat) { event.preventDefault(); strike("piano", note, 100); }
  });
  $("piano").addEventListener("keyup", (event) => { if (event.key === " " || event.key === "Enter") lift("piano"); });
  $("piano").addEventListener("focusout", () => lift("piano"));
}

for (const [id, way] of [["lower-keys", -1], ["higher-keys", 1]]) $(id).onclick = () => { $("keyboard").scrollLeft += way * 241; };

function strike(who, note, velocity) {
  lift(who);
  down.set(who, note);
  keys.get(note)?.classList.add("down");
  ask("note", { on: true, key: note, velocity: Math.min(127, Math.max(1, velocity)) });
}

function lift(who) {
  if (!down.has(who)) return;
  const note = down.get(who);
  down.delete(who);
  if ([...down.values()].includes(note)) return;
  keys.get(note)?.classList.remove("down");
  ask("note", { on: false, key: note });
}

const COMPUTER = ["KeyA", "KeyW", "KeyS", "KeyE", "KeyD", "KeyF", "KeyT", "KeyG", "KeyY", "KeyH", "KeyU", "KeyJ", "KeyK", "KeyO", "KeyL", "KeyP", "Semicolon"]; // places on the keyboard, whatever is printed there
let octave = 48;

document.addEventListener("keydown", (event) => {
  if (!$("computer").checked || event.repeat || event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
  const place = COMPUTER.indexOf(event.code);
  if (place >= 0) { event.preventDefault(); strike(event.code, octave + place, 100); }
  const step = { KeyZ: -12, KeyX: 12 }[event.code];
  if (step) { octave = Math.min(96, Math.max(12, octave + step)); $("octave").textContent = `from C${octave / 12 - 1}`; }
});
document.addEventListener("keyup", (event) => lift(event.code));
window.addEventListener("blur", () => [...down.keys()].forEach(lift));

function typing(target) {
  return target.tagName === "SELECT" || /^(text|search|number|file)$/.test(target.type ?? "");
}

// --- views ---

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);

function canvas(id) {
  const element = $(id), pen = element.getContext("2d");
  pen.clearRect(0, 0, element.width, element.height);
  pen.strokeStyle = css("--grid");
  pen.lineWidth = 1;
  for (let n = 1; n < 4; n++) { pen.beginPath(); pen.moveTo(0, (n * element.height) / 4); pen.lineTo(element.width, (n * element.height) / 4); pen.stroke(); }
  return [pen, element.width, element.height];
}

function line(pen, points, colour) {
  pen.strokeStyle = colour;
  pen.lineWidth = 2;
  pen.beginPath();
  points.forEach(([x, y], n) => (n ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.stroke();
}

function drawScope(seen) {
  const [pen, width, height] = canvas("scope");
  line(pen, seen.wave.map((v, n) => [(n / (seen.wave.length - 1)) * width, height / 2 - (v / 1000) * height * 0.46]), css("--trace"));
  $("scope-words").textContent = seen.peak > 1e-4 ? `peak ${(20 * Math.log10(seen.peak)).toFixed(0)} dB` : "silence";
}

function drawSpectrum(seen) {
  const [pen, width, height] = canvas("spectrum");
  line(pen, seen.db.map((db, n) => [(n / (seen.db.length - 1)) * width, Math.min(1, -db / 100) * height]), css("--trace"));
}

const past = [];

function drawMachine(seen) {
  past.push(seen.boards.map((board) => board.env2));
  if (past.length > 150) past.shift();
  const [pen, width, height] = canvas("envelopes");
  const hues = [20, 60, 110, 170, 215, 270, 300, 330, 40, 90, 190, 240];
  seen.boards.forEach((board, b) => board.env2.forEach((_, voice) => {
    if (past.some((row) => row[b]?.[voice] > 0.001)) line(pen, past.map((row, n) => [(n / 149) * width, height - 4 - (row[b]?.[voice] ?? 0) * (height - 8)]), `hsl(${hues[b * 6 + voice]} 75% 48%)`);
  }));
  const sounding = seen.boards.flatMap((board) => board.env2).filter((level) => level > 0.001).length;
  $("env-words").textContent = `(ENV-2; ${sounding} voices sound)`;
  const [pen2, width2, height2] = canvas("filter");
  seen.boards.forEach((board, n) => line(pen2, board.response.map((db, x) => [(x / (board.response.length - 1)) * width2, Math.min(1, Math.max(0, (30 - db) / 90)) * height2]), n ? "hsl(205 75% 48%)" : css("--trace")));
  $("filter-words").textContent = seen.boards.map((board) => `${board.name} ${Math.round(board.cutoff)} Hz`).join(", ") + "; +30 to -60 dB, 20 Hz to 20 kHz";
}

function addLines(id, lines) {
  const box = $(id);
  const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  box.append(...lines.map((text) => make("div", {}, text)));
  while (box.children.length > MOST_LINES) box.firstChild.remove();
  if (atEnd) box.scrollTop = box.scrollHeight;
}

function showWire(seen) {
  if ($("hold-wire").checked) return;
  const lines = seen.rows.map(([at, hex, words]) => `${at.toFixed(4).padStart(10)}  ${hex.padEnd(18)} ${words}`);
  addLines("wire", seen.left_out ? [`(${seen.left_out} commands more)`, ...lines] : lines);
}

function showMonitor(seen) {
  addLines("monitor", seen.rows.map(([at, port, words]) => `${at.toFixed(3).padStart(9)}  ${port.slice(0, 22).padEnd(22)} ${words}`));
}

function showLatch(seen) {
  const names = Object.keys(seen.boards[0]).filter((name) => name !== "name");
  const words = (value) => (Array.isArray(value) ? value.map(words).join(Array.isArray(value[0]) ? " | " : " ") : String(value));
  $("latch").tBodies[0].replaceChildren(
    make("tr", {}, make("th", { scope: "col" }, "field"), ...seen.boards.map((board) => make("th", { scope: "col" }, board.name))),
    ...names.map((name) => make("tr", {}, make("th", { scope: "row" }, name), ...seen.boards.map((board) => make("td", {}, words(board[name]))))));
}

connect();
