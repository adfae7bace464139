// The page of poles: those of a machine that learned a sound are dragged, and heard.

import { $, canvas, css, line, make, tell } from "./panel.js";

const SVG = "http://www.w3.org/2000/svg";
let name, model, poles; // of what is shown: its name, as it was learned, its poles as they are now
let chosen = 0;
const player = new Audio();

async function asked(path, told) {
  const answer = await fetch(path, told === undefined ? {} : { method: "POST", body: told instanceof File ? told : JSON.stringify(told) });
  if (!answer.ok) throw new Error(await answer.text());
  return answer;
}

async function attempt(work) {
  try { await work(); } catch (error) { tell(error.message, true); }
}

async function showNames(select) {
  const names = await (await asked("/poles")).json();
  $("poles-name").replaceChildren(...names.map((each) => make("option", {}, each)));
  if (names.length) { $("poles-name").value = names.includes(select) ? select : names[0]; await show($("poles-name").value); }
}

async function show(which) {
  const there = await (await asked(`/poles/${encodeURIComponent(which)}`)).json();
  if ($("poles-name").value !== which) return; // another was chosen meanwhile
  [name, model, chosen] = [which, there, 0];
  poles = structuredClone({ real: there.real, pairs: there.pairs });
  $("poles-work").hidden = false;
  $("poles-original").disabled = !there.original;
  $("poles-as").value = `${which} moved`.slice(0, 40);
  draw();
}

// --- one pole in words ---

const hertz = ([x, y]) => (Math.atan2(y, x) / (2 * Math.PI)) * model.rate;
const decay = ([x, y]) => (-3 * Math.LN10) / Math.log(Math.hypot(x, y)) / model.rate * 1000; // below 0: it grows
const rings = (pole) => (decay(pole) > 0 ? `${decay(pole).toPrecision(3)} ms` : "grows");
const words = (pole) => `${Math.round(hertz(pole))} Hz, ${rings(pole)}`;

function place(radius, turn) {
  return [radius * Math.cos(turn), Math.max(1e-9, radius * Math.sin(turn))];
}

// --- pictures ---

function shape(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function draw() {
  const rim = "M -1 0 A 1 1 0 0 1 1 0";
  $("plane").replaceChildren(
    shape("path", { d: rim, class: "rim" }), shape("path", { d: "M -1.1 0 H 1.1 M 0 0 V -1.1", class: "axis" }),
    ...model.total.map(([x, y]) => shape("path", { d: `M ${x - 0.012} ${-y - 0.012} l 0.024 0.024 m 0 -0.024 l -0.024 0.024`, class: "total" })),
    ...poles.real.map((x) => shape("circle", { cx: x, cy: 0, r: 0.012, class: "real" })),
    ...poles.pairs.map(([x, y], n) => shape("circle", { cx: x, cy: -y, r: 0.022, class: n === chosen ? "pole chosen" : "pole", "data-pole": n })),
  );
  $("pole").replaceChildren(...poles.pairs.map((pole, n) => make("option", { value: String(n) }, `${n + 1}: ${words(pole)}`)));
  $("pole").value = String(chosen);
  showChosen();
  const out = poles.pairs.filter((pole) => Math.hypot(...pole) >= 1).length + poles.real.filter((x) => Math.abs(x) >= 1).length;
  $("poles-words").textContent = `(${poles.pairs.length} pairs, ${poles.real.length} real; ${out ? `${out} outside the circle: they grow` : "all inside the circle"}; crosses: with hidden units as learned)`;
  const [pen, width, height] = canvas("poles-response");
  for (const [set, colour] of [[model, css("--edge")], [poles, css("--trace")]]) line(pen, response(set, width, height), colour);
}

function response(set, width, height) {
  const all = [...set.real.map((x) => [x, 0]), ...set.pairs, ...set.pairs.map(([x, y]) => [x, -y])];
  return Array.from({ length: 200 }, (_, n) => {
    const turn = (2 * Math.PI * 20 * (model.rate / 40) ** (n / 199)) / model.rate; // 20 Hz to half the rate
    const db = all.reduce((sum, [x, y]) => sum - 20 * Math.log10(Math.hypot(Math.cos(turn) - x, Math.sin(turn) - y) + 1e-9), 0);
    return [(n / 199) * width, Math.min(1, Math.max(0, (70 - db) / 140)) * height];
  });
}

function showChosen() {
  const pole = poles.pairs[chosen];
  for (const id of ["pole-hertz", "pole-decay"]) $(id).disabled = !pole;
  if (!pole) return;
  $("pole-hertz").value = hertz(pole).toFixed(1);
  $("pole-decay").value = decay(pole) > 0 ? decay(pole).toPrecision(4) : "";
}

// --- moving ---

let dragged = null;

function at(event) {
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform($("plane").getScreenCTM().inverse());
  const radius = Math.min(1.1, Math.hypot(point.x, point.y));
  return place(radius, Math.min(Math.PI - 1e-6, Math.max(1e-6, Math.atan2(Math.max(0, -point.y), point.x))));
}

$("plane").addEventListener("pointerdown", (event) => {
  if (!event.target.dataset.pole) return;
  dragged = chosen = +event.target.dataset.pole;
  event.preventDefault(); // or the drag selects text
  $("plane").setPointerCapture(event.pointerId);
  draw();
});
$("plane").addEventListener("pointermove", (event) => { if (dragged !== null) { poles.pairs[dragged] = at(event); draw(); } });
for (const end of ["pointerup", "pointercancel"]) $("plane").addEventListener(end, () => { if (dragged !== null) { dragged = null; changed(); } });

$("pole").onchange = () => { chosen = +$("pole").value; draw(); };
for (const id of ["pole-hertz", "pole-decay"]) $(id).onchange = () => {
  if (number(id) === undefined) { showChosen(); return; }
  const pole = poles.pairs[chosen], ms = +$("pole-decay").value;
  const radius = id === "pole-decay" && ms > 0 ? Math.exp((-3 * Math.LN10) / (ms / 1000 * model.rate)) : Math.hypot(...pole);
  const turn = id === "pole-hertz" ? (2 * Math.PI * +$("pole-hertz").value) / model.rate : Math.atan2(pole[1], pole[0]);
  poles.pairs[chosen] = place(radius, Math.min(Math.PI - 1e-6, Math.max(1e-6, turn)));
  changed();
};

const moveAll = (moves) => attempt(async () => {
  poles = await (await asked(`/poles/${encodeURIComponent(name)}/edit`, { ...poles, ...moves })).json();
  changed();
});
const number = (id, share = 1) => ($(id).value === "" || !$(id).checkValidity() ? undefined : $(id).value / share);
$("poles-apply").onclick = () => moveAll({ pitch: number("poles-pitch"), rotate: number("poles-rotate"), scale: number("poles-scale"), pull: number("poles-pull", 100) });
$("poles-clamp").onclick = () => moveAll({ clamp: 0.001 });
$("poles-reset").onclick = () => { poles = structuredClone({ real: model.real, pairs: model.pairs }); changed(); };

// --- hearing ---

function changed() {
  draw();
  if ($("poles-at-once").checked) hear();
}

let turn = 0;

const hear = () => attempt(async () => {
  const mine = ++turn; // of several that are asked for, the last is heard
  const sound = await (await asked(`/poles/${encodeURIComponent(name)}/sound`, { ...poles, hidden: $("poles-hidden").checked })).blob();
  if (mine === turn) await heard(URL.createObjectURL(sound));
});

async function heard(address) {
  URL.revokeObjectURL(player.src);
  player.src = address;
  try { await player.play(); } catch (error) {
    if (error.name !== "AbortError") throw error; // a newer sound took its place before it had begun
  }
}

$("poles-hear").onclick = hear;
$("poles-original").onclick = () => attempt(() => heard(`/poles/${encodeURIComponent(name)}/sound`));
$("poles-hidden").onchange = changed;
$("poles-keep").onclick = () => attempt(async () => {
  const made = await (await asked(`/poles/${encodeURIComponent(name)}/keep?as=${encodeURIComponent($("poles-as").value)}`, poles)).json();
  tell(`kept as ${made}`);
  await showNames(made);
});

$("poles-name").onchange = () => attempt(() => show($("poles-name").value));
$("poles-file").onchange = () => attempt(async () => {
  for (const file of $("poles-file").files) {
    const begun = Date.now();
    const timer = setInterval(() => { $("poles-learning").textContent = `learning ${file.name}, ${Math.round((Date.now() - begun) / 1000)} s`; }, 500);
    try {
      await showNames(await (await asked(`/poles?name=${encodeURIComponent(file.name)}`, file)).json());
      tell(`${file.name} is learned`);
    } finally {
      clearInterval(timer);
      $("poles-learning").textContent = "";
      $("poles-file").value = "";
    }
  }
});
document.addEventListener("page", (event) => { if (event.detail === "tab-poles" && !model) attempt(showNames); });
