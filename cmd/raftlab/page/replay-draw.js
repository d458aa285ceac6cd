"use strict";

// Drawing: the ring of servers with the messages between them, the servers' cards, and the map of the
// whole run.

const byId = id => document.getElementById(id);
const dark = matchMedia("(prefers-color-scheme: dark)");

function make(tag, properties = {}, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") e.className = value;
    else if (name in e) e[name] = value;
    else e.setAttribute(name, value);
  }
  e.append(...children);
  return e;
}

function svg(tag, attributes, ...children) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  e.append(...children);
  return e;
}

// termColour returns the colour of a term: "soft" for areas with text on them, "strong" for lines.
// Terms that follow each other differ most.
const hues = [212, 38, 145, 330, 265, 85, 12, 180];
function termColour(term, strength) {
  const light = {soft: [88, 26], middle: [70, 42], strong: [38, 68]}[strength][dark.matches ? 1 : 0];
  if (!term) return `hsl(0 0% ${light}%)`;
  return `hsl(${hues[(term - 1) % hues.length]} ${strength === "soft" ? 65 : 60}% ${light}%)`;
}

// familyOf returns the class of a kind of message. A request and its answer share it.
const families = {
  PreVote: "prevote", Vote: "vote", Append: "append", Heartbeat: "heartbeat", TimeoutNow: "transfer",
  Forward: "forward", Read: "read", Repair: "repair", Snapshot: "snapshot",
};
function familyOf(kind) {
  for (const [start, name] of Object.entries(families)) if (kind.startsWith(start)) return name;
  return "other";
}

const milliseconds = at => (at / 1e6).toLocaleString("en", {minimumFractionDigits: 3, maximumFractionDigits: 3}) + " ms";

// ring keeps the elements of the ring from one step to the next, so that what moves can glide.
const ring = {places: [], servers: [], flights: new Map(), cuts: null, messages: null};

const ringSize = 460, ringRadius = 178, dotRadius = 36; // in the units of the drawing

// layRing makes the ring anew for a number of servers.
function layRing(count) {
  const box = byId("ring");
  box.setAttribute("viewBox", `0 0 ${ringSize} ${ringSize}`);
  box.replaceChildren();
  ring.flights.clear();
  ring.cuts = box.appendChild(svg("g", {}));
  ring.places = Array.from({length: count}, (_, i) => {
    const angle = 2 * Math.PI * i / count - Math.PI / 2, radius = count === 1 ? 0 : ringRadius;
    return {x: ringSize / 2 + radius * Math.cos(angle), y: ringSize / 2 + radius * Math.sin(angle)};
  });
  ring.servers = ring.places.map(({x, y}, i) => {
    const circle = svg("circle", {r: dotRadius}), name = svg("text", {class: "name", y: -4}), role = svg("text", {class: "role", y: 12});
    const term = svg("text", {class: "cursors", y: 25});
    name.textContent = i + 1;
    box.append(svg("g", {transform: `translate(${x} ${y})`}, circle, name, role, term));
    return {circle, role, term};
  });
  ring.messages = box.appendChild(svg("g", {})); // above the servers
}

// line returns where the way of a message begins and ends. The two directions lie side by side.
function line(from, to) {
  const a = ring.places[from], b = ring.places[to], length = Math.hypot(b.x - a.x, b.y - a.y) || 1;
  const ux = (b.x - a.x) / length, uy = (b.y - a.y) / length, gap = 5;
  const at = d => ({x: a.x + ux * d - uy * gap, y: a.y + uy * d + ux * gap});
  return {begin: at(dotRadius), end: at(length - dotRadius), ux, uy};
}

function drawRing(frame) {
  frame.servers.forEach((s, i) => {
    const {circle, role, term} = ring.servers[i];
    circle.setAttribute("class", `${s.role}${i === frame.server ? " now" : ""}`);
    circle.style.fill = s.role === "down" ? "" : termColour(s.term, "soft");
    circle.style.stroke = s.role === "down" ? "" : termColour(s.term, "strong");
    role.textContent = s.role === "pre-candidate" ? "pre-cand." : s.role;
    term.textContent = `t${s.term}`;
  });
  ring.cuts.replaceChildren(...frame.cut.map(([from, to]) => {
    const {begin, end} = line(from, to);
    return svg("line", {class: "cut", x1: begin.x, y1: begin.y, x2: end.x, y2: end.y});
  }));
  drawFlights(frame);
}

// newFlight makes what is drawn of a message, at its sender.
function newFlight(f) {
  const {begin, end} = line(f.from, f.to);
  const way = svg("line", {class: "way", x1: begin.x, y1: begin.y, x2: end.x, y2: end.y});
  const dot = svg("g", {class: "dot"}, svg("circle", {r: 5}), svg("path", {class: "cross", d: "M-6 -6 6 6M6 -6 -6 6"}), svg("text", {}));
  const title = svg("title", {});
  title.textContent = `${f.from + 1} → ${f.to + 1} ${f.text}`;
  dot.lastChild.textContent = f.short;
  dot.style.transform = `translate(${begin.x}px, ${begin.y}px)`;
  const group = svg("g", {}, title, way, dot);
  ring.flights.set(f.message, {group, dot});
  return group;
}

function drawFlights(frame) {
  const seen = new Set(), few = frame.flights.length <= 10, fresh = [];
  for (const f of frame.flights) {
    seen.add(f.message);
    if (!ring.flights.has(f.message)) fresh.push(newFlight(f));
  }
  ring.messages.append(...fresh);
  if (fresh.length && !document.body.classList.contains("jump")) ring.messages.getBoundingClientRect(); // so that they glide from their senders
  for (const f of frame.flights) {
    const {begin, end, ux, uy} = line(f.from, f.to), e = ring.flights.get(f.message), text = e.dot.lastChild;
    const lost = f.fate !== "arrives", part = lost && f.end === frame.step ? Math.min(f.part, 0.6) : f.part;
    e.group.setAttribute("class", `flight ${familyOf(f.kind)}${f.kind.endsWith("Response") ? " answer" : ""}` +
      `${f.end === frame.step ? lost ? " lost" : " arrives" : ""}${few ? " named" : ""}`);
    e.dot.style.transform = `translate(${begin.x + (end.x - begin.x) * part}px, ${begin.y + (end.y - begin.y) * part}px)`;
    text.setAttribute("text-anchor", ux < -0.3 ? "start" : ux > 0.3 ? "end" : "start"); // away from the server that it comes to
    text.setAttribute("x", ux < -0.3 ? 8 : ux > 0.3 ? -8 : 9);
    text.setAttribute("y", uy > 0.3 ? -7 : 14);
  }
  for (const [number, e] of ring.flights) {
    if (seen.has(number)) continue;
    e.group.remove();
    ring.flights.delete(number);
  }
  const fates = {arrives: f => `arrives in step ${f.end}`, lost: () => "will be lost", cut: () => "its link is cut", down: () => "to a server that is down"};
  const ends = {arrives: () => "arrives now", lost: () => "is lost now", cut: () => "is lost: the link is cut", down: () => "meets a server that is down"};
  const rows = frame.flights.map(f => make("div", {class: `message ${familyOf(f.kind)}${f.end === frame.step ? " ends" : ""}`},
    make("b", {}, `${f.from + 1}→${f.to + 1}`), ` ${f.text} `, make("i", {}, (f.end === frame.step ? ends : fates)[f.fate](f))));
  if (frame.more) rows.push(make("div", {class: "quiet"}, `and ${frame.more} more`));
  if (frame.never) rows.push(make("div", {class: "quiet"}, `${frame.never} sent so far arrive in no step of this run`));
  byId("flights").replaceChildren(make("h2", {}, `${frame.flights.length + frame.more} on their way`), ...rows);
}

// drawEvent tells what happens in the step.
function drawEvent(frame, summary) {
  const parts = [make("div", {class: "what"}, make("span", {class: "quiet"}, `${frame.step} · ${milliseconds(frame.at)} · `), make("b", {}, frame.kind === "fault" ? `fault: ${frame.text}` : frame.text))];
  if (frame.follows >= 0) {
    const link = make("button", {class: "link"}, `sent in step ${frame.follows}`);
    link.dataset.step = frame.follows;
    parts[0].append(" ", link);
  }
  for (const text of frame.effects) parts.push(make("div", {class: "effect"}, text));
  for (const text of frame.answers) parts.push(make("div", {class: "answer"}, text));
  for (const text of frame.damage) parts.push(make("div", {class: "bad"}, text));
  if (frame.broken) parts.push(make("div", {class: "bad strong"}, `✱ ${summary.violation.text}`));
  byId("event").replaceChildren(...parts);
}

// cellsThatFit returns how many entries of a log there is room for.
const cellWidth = 46;
function cellsThatFit() { return Math.max(Math.floor((byId("servers").clientWidth - 24) / cellWidth), 4); }

function drawServers(frame) {
  const cards = frame.servers.map((s, i) => card(frame, s, i));
  const observed = make("div", {class: "card observed"}, make("div", {class: "head"}, make("b", {}, "committed"), ` up to ${frame.commit}, as an observer of all servers knows`), cells(frame, frame.committed));
  byId("servers").replaceChildren(observed, ...cards);
}

function card(frame, s, i) {
  const changed = new Set(s.changed);
  const value = (name, text, key) => make("span", {class: `value${changed.has(key) ? " changed" : ""}`}, `${name} `, make("b", {}, text));
  const head = make("div", {class: "head"}, make("span", {class: "number"}, i + 1), value("", s.role, "role"), value("term", s.term, "term"),
    value("vote", s.vote || "–", "vote"), value("applied", s.applied, "applied"), value("commit", s.commit, "commit"),
    value("durable", s.stable, "stable"), value("last", s.last, "last"), make("code", {}, s.text));
  head.firstChild.style.background = s.role === "down" ? "" : termColour(s.term, "middle");
  return make("div", {class: `card ${s.role}${i === frame.server ? " now" : ""}`}, head, disk(s, changed), cells(frame, s.cells));
}

// disk says what a server's disk holds.
function disk(s, changed) {
  const d = s.disk, parts = [`term ${d.term}`];
  if (d.vote) parts.push(`vote ${d.vote}`);
  parts.push(d.first > d.last ? "no entries" : `entries ${d.first} to ${d.last}`);
  if (d.snapshot) parts.push(`snapshot ${d.snapshot}`);
  const e = make("div", {class: `disk${changed.has("disk") ? " changed" : ""}`}, make("span", {}, `${d.new ? "new disk" : "disk"}: ${parts.join(", ")}`));
  if (d.waiting) e.append(make("span", {class: "waiting"}, ` · ${d.waiting} ${d.waiting === 1 ? "write waits" : "writes wait"} for it`));
  if (d.full) e.append(make("span", {class: "bad"}, " · full"));
  if (d.lost) e.append(make("span", {class: "bad"}, ` · bytes lost of ${d.lost}`));
  return e;
}

function cells(frame, list) {
  return make("div", {class: "cells"}, ...list.map((c, k) => {
    const index = frame.first + k, e = make("span", {class: `cell ${c.marks.join(" ")}${c.term ? "" : " none"}`});
    if (!c.term && !c.marks.length) return e;
    if (c.term) e.style.backgroundColor = termColour(c.term, "soft");
    e.title = c.full || `index ${index}: not handed to the disk yet`;
    e.append(make("b", {}, index), make("i", {}, c.term ? ` t${c.term}` : ""), make("br"), c.term ? c.text : "…");
    return e;
  }));
}

// drawMap draws the whole run in small: a line for each server in the colours of its terms, strong
// where it leads; above them faults and cut links; and the violation.
function drawMap(summary) {
  const map = byId("map"), wide = map.clientWidth, row = summary.servers > 4 ? 6 : 9, top = 8, tall = top + row * summary.servers + 2;
  const scale = devicePixelRatio || 1;
  map.width = Math.round(wide * scale);
  map.height = Math.round(tall * scale);
  map.style.height = `${tall}px`;
  const c = map.getContext("2d"), step = wide / summary.steps;
  c.scale(scale, scale);
  summary.lanes.forEach((lane, s) => lane.forEach((l, k) => {
    if (l.role === "down") return;
    const end = k + 1 < lane.length ? lane[k + 1].step : summary.steps;
    c.fillStyle = termColour(l.term, l.role === "leader" ? "strong" : l.role === "follower" ? "soft" : "middle");
    c.fillRect(l.step * step, top + s * row, Math.max((end - l.step) * step, 1), row - 1);
  }));
  c.fillStyle = getComputedStyle(byId("toviolation")).color;
  summary.cuts.forEach(([from, count], k) => {
    const end = k + 1 < summary.cuts.length ? summary.cuts[k + 1][0] : summary.steps;
    if (count) c.fillRect(from * step, 5, Math.max((end - from) * step, 1), 2);
  });
  for (const m of summary.marks) c.fillRect((m.step + 0.5) * step, 0, 1.5, 4);
  if (summary.broken >= 0) c.fillRect(Math.min((summary.broken + 0.5) * step - 1.5, wide - 3), 0, 3, tall);
}
