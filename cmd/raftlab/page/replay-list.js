"use strict";

// The list of all steps. Only the rows in view are in the page: a run may have many thousands.

const rowHeight = 21; // in pixels, as in replay.css
const list = {count: 0, now: -1, turns: new Set(), broken: -1, cache: new Map(), asked: new Set(), generation: 0, rows: null};
const chunk = 100; // rows that are asked for together

// layList makes the list anew for a run. rows(first, count) returns a promise of rows.
function layList(summary, rows) {
  Object.assign(list, {count: summary.steps, now: -1, turns: new Set(summary.turns), broken: summary.broken, cache: new Map(), asked: new Set(), rows});
  list.generation++;
  byId("rows").style.height = `${list.count * rowHeight}px`;
  byId("list").scrollTop = 0;
  fillList();
}

// markList marks a step, and scrolls to it if it isn't in view.
function markList(step) {
  list.now = step;
  const box = byId("list"), top = step * rowHeight;
  if (top < box.scrollTop + rowHeight || top > box.scrollTop + box.clientHeight - 2 * rowHeight) {
    box.scrollTop = top - box.clientHeight / 2;
  }
  fillList();
}

function fillList() {
  const box = byId("list");
  const first = Math.max(Math.floor(box.scrollTop / rowHeight) - 20, 0);
  const last = Math.min(first + Math.ceil(box.clientHeight / rowHeight) + 40, list.count);
  for (let c = Math.floor(first / chunk); c * chunk < last; c++) ask(c);
  // Rows that are there already stay.
  const there = new Map();
  for (const row of [...byId("rows").children]) {
    const i = Number(row.dataset.step);
    if (i < first || i >= last || row.dataset.run !== String(list.generation) || row.dataset.known !== String(list.cache.has(i))) row.remove();
    else there.set(i, row);
  }
  for (let i = first; i < last; i++) {
    const row = there.get(i) || byId("rows").appendChild(rowOf(i));
    row.classList.toggle("now", i === list.now);
  }
}

// ask asks for a chunk of rows, once.
async function ask(c) {
  if (!list.rows || list.asked.has(c)) return;
  list.asked.add(c);
  const generation = list.generation;
  try {
    const rows = await list.rows(c * chunk, chunk);
    if (generation !== list.generation) return; // another run has been opened
    for (const r of rows) list.cache.set(r.step, r);
    fillList();
  } catch (error) {
    if (generation === list.generation) list.asked.delete(c);
  }
}

function rowOf(i) {
  const r = list.cache.get(i), classes = ["row"];
  if (i === list.broken) classes.push("broken");
  if (list.turns.has(i)) classes.push("turn");
  if (r && r.inside) classes.push("inside");
  if (r && r.kind === "fault") classes.push("fault");
  const row = make("div", {class: classes.join(" ")}, make("span", {class: "step"}, i));
  row.style.top = `${i * rowHeight}px`;
  Object.assign(row.dataset, {step: i, run: list.generation, known: list.cache.has(i)});
  if (!r) return row;
  row.title = `${milliseconds(r.at)}  ${r.text}${r.effects ? " │ " + r.effects : ""}`;
  row.append(make("span", {class: "at"}, (r.at / 1e6).toFixed(3)), make("span", {class: "text"}, (r.kind === "fault" ? "fault: " : "") + r.text));
  if (r.effects) row.append(make("span", {class: "effects"}, ` │ ${r.effects}`));
  return row;
}

byId("list").addEventListener("scroll", () => requestAnimationFrame(fillList), {passive: true});
new ResizeObserver(() => { if (list.now >= 0) markList(list.now); }).observe(byId("list"));
