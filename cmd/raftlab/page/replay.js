"use strict";

// The page's state and the reader's input. The run itself is in the worker.

const state = {
  worker: null, calls: new Map(), number: 0, // calls of the worker that aren't answered, by their numbers
  summary: null, // of the run that is open
  wanted: 0,     // the step that the reader wants to see
  shown: -1,     // the step that is drawn
  asking: false, // a step is on its way from the worker
  playing: 0,    // the timer of the play; 0 for none
  opening: 0,    // counts what was opened
};

function startWorker() {
  const worker = new Worker("replay-worker.js");
  worker.onmessage = e => {
    const call = state.calls.get(e.data.id);
    state.calls.delete(e.data.id);
    if (!call) return;
    if ("error" in e.data) call.reject(new Error(e.data.error)); else call.resolve(e.data.value);
  };
  worker.onerror = e => failAll(e.message || "the simulator can't be started");
  state.worker = worker;
}

function failAll(text) {
  for (const call of state.calls.values()) call.reject(new Error(text));
  state.calls.clear();
}

function call(name, ...args) {
  if (!state.worker) startWorker();
  const id = ++state.number;
  return new Promise((resolve, reject) => {
    state.calls.set(id, {resolve, reject});
    state.worker.postMessage({id, name, args});
  });
}

// stop ends the worker with what it is doing. The run that was open is gone.
function stop() {
  if (state.worker) state.worker.terminate();
  state.worker = null;
  failAll("stopped");
}

function say(text, kind = "") {
  const box = byId("status");
  box.className = kind;
  box.replaceChildren(text);
}

// open performs a run and shows it: name is "openLink" or "openText".
async function open(name, text) {
  const opening = ++state.opening;
  pause();
  if (state.summary === null || state.calls.size) stop(); // whatever it does is for nobody any more
  state.summary = null;
  try {
    say("The simulator is loaded. When its source has changed, raftlab compiles it first, which takes up to a minute or two.");
    await call("load");
    if (opening !== state.opening) return;
    const button = make("button", {}, "Stop");
    button.onclick = () => { state.opening++; stop(); clear(); say("Stopped."); };
    byId("status").className = "";
    byId("status").replaceChildren("The run is performed… ", button);
    const summary = await call(name, text);
    if (opening !== state.opening) return;
    show(summary);
  } catch (error) {
    if (opening !== state.opening) return;
    clear();
    say(error.message, "bad");
  }
}

function clear() {
  state.summary = null;
  document.body.classList.add("empty");
  byId("title").textContent = byId("verdict").textContent = "";
  byId("said").replaceChildren();
  document.title = "Raft replay";
}

function show(summary) {
  state.summary = summary;
  state.shown = -1;
  document.body.classList.remove("empty");
  const v = summary.violation;
  say("");
  byId("title").textContent = `${summary.title}, ${summary.servers} ${summary.servers === 1 ? "server" : "servers"}`;
  byId("verdict").className = v ? "bad" : "fine";
  byId("verdict").textContent = v ? `✱ ${v.name}` : "no violation";
  document.title = `${v ? v.name : "no violation"} · ${summary.title} · Raft replay`;
  const said = [];
  if (v) {
    said.push(make("div", {class: "violation"}, make("b", {}, v.text), make("div", {}, `${v.name}: ${v.meaning}`)));
    if (v.stack) said.push(make("details", {}, make("summary", {}, "where the panic came from"), make("pre", {}, v.stack)));
  }
  for (const text of summary.notes) said.push(make("div", {class: "note"}, text));
  if (summary.linkFail) said.push(make("div", {class: "note"}, `There is no link to this run: ${summary.linkFail}. Pass the file on instead.`));
  byId("said").replaceChildren(...said);
  byId("copy").disabled = !summary.link;
  byId("toviolation").hidden = summary.broken < 0;
  const numbers = values => values.map(p => make("div", {}, `${p.name} `, make("b", {}, p.value)));
  byId("numbers").replaceChildren(...numbers(summary.parameters), make("h2", {}, "counts"), ...numbers(summary.counts), make("div", {}, `hash ${summary.hash}`));
  byId("time").max = summary.steps - 1;
  layRing(summary.servers);
  drawMap(summary);
  layList(summary, (first, count) => call("rows", first, count));
  go(summary.start);
}

// go shows a step. While one is on its way, only the one that is wanted last is asked for next.
async function go(step) {
  if (!state.summary) return;
  state.wanted = Math.max(0, Math.min(step, state.summary.steps - 1));
  if (state.asking) return;
  state.asking = true;
  try {
    for (let opening = state.opening; state.summary && opening === state.opening && state.shown !== state.wanted;) {
      const frame = await call("at", state.wanted, cellsThatFit());
      if (opening !== state.opening || !state.summary) break;
      draw(frame);
    }
  } catch (error) {
    if (state.summary) say(error.message, "bad");
  } finally {
    state.asking = false;
    if (state.summary && state.shown < 0) setTimeout(() => go(state.wanted)); // another run was opened meanwhile
  }
}

function draw(frame) {
  const summary = state.summary;
  document.body.classList.toggle("jump", Math.abs(frame.step - state.shown) !== 1);
  state.shown = frame.step;
  byId("event").setAttribute("aria-live", state.playing ? "off" : "polite");
  markList(frame.step); // first: it asks for sizes, which change with what is drawn
  drawRing(frame);
  drawEvent(frame, summary);
  drawServers(frame);
  byId("time").value = frame.step;
  byId("time").setAttribute("aria-valuetext", `step ${frame.step} of ${summary.steps - 1}: ${frame.text}`);
  byId("cursor").style.left = `${(frame.step + 0.5) / summary.steps * 100}%`;
  byId("where").textContent = `step ${frame.step} of ${summary.steps - 1} · ${milliseconds(frame.at)}`;
  document.body.dataset.step = frame.step;
  keepAddress();
}

// address returns the fragment that opens this run at this step.
function address() { return state.summary && state.summary.link ? `#${state.summary.link}&step=${Math.max(state.shown, 0)}` : "#"; }

let keeping = 0;
function keepAddress() {
  clearTimeout(keeping); // browsers bound how often a page may do this
  keeping = setTimeout(() => { if (state.summary) history.replaceState(null, "", address()); }, 250);
}

function pause() {
  clearInterval(state.playing);
  state.playing = 0;
  document.body.classList.remove("playing");
  byId("play").setAttribute("aria-label", "play");
}

// play goes on by itself. Steps that come faster than the screen are taken several at a time.
function play() {
  if (!state.summary) return;
  if (state.playing) return pause();
  if (state.wanted >= state.summary.steps - 1) go(0);
  const perSecond = Number(byId("speed").value), size = Math.max(Math.round(perSecond / 60), 1);
  document.body.classList.add("playing");
  byId("play").setAttribute("aria-label", "pause");
  state.playing = setInterval(() => {
    if (state.asking) return;
    const broken = state.summary.broken, next = state.wanted + size;
    const end = state.wanted < broken ? broken : state.summary.steps - 1; // it stops at the violation
    go(Math.min(next, end));
    if (next >= end) pause();
  }, 1000 * size / perSecond);
}

// turn returns the turning point next to a step in a direction.
function turn(direction) {
  const turns = state.summary.turns;
  if (direction > 0) return turns.find(t => t > state.wanted) ?? state.summary.steps - 1;
  return turns.findLast(t => t < state.wanted) ?? 0;
}

const doings = {
  home: () => go(0), end: () => go(state.summary.steps - 1), back: () => go(state.wanted - 1), forth: () => go(state.wanted + 1),
  backTurn: () => go(turn(-1)), forthTurn: () => go(turn(1)), backFar: () => go(state.wanted - 100), forthFar: () => go(state.wanted + 100),
  violation: () => { if (state.summary.broken >= 0) go(state.summary.broken); },
};

// act does what a button or a key asks for. All but the play itself ends the play.
function act(name) {
  if (!state.summary) return;
  if (name === "play") return play();
  pause();
  doings[name]();
}

const keys = {
  ArrowLeft: "back", ArrowRight: "forth", ArrowUp: "backTurn", ArrowDown: "forthTurn", PageUp: "backFar", PageDown: "forthFar",
  Home: "home", End: "end", " ": "play", v: "violation",
};

document.addEventListener("keydown", e => {
  if (e.ctrlKey || e.metaKey || e.altKey || byId("help").open) return;
  const inside = e.target;
  if (inside.matches("input:not([type=range]), textarea")) {
    if (e.key === "Escape") inside.blur();
    return;
  }
  if (e.key === "?") byId("help").showModal();
  else if (e.key === "/" && state.summary) byId("find").focus();
  else if (e.key === "o") byId("file").click();
  else if (e.key === " " && inside.matches("button, summary, a, select") || inside.matches("select")) return; // it is pressed
  else if (keys[e.key] && state.summary) act(e.shiftKey && e.key === "ArrowLeft" ? "backTurn" : e.shiftKey && e.key === "ArrowRight" ? "forthTurn" : keys[e.key]);
  else return;
  e.preventDefault();
});

byId("controls").addEventListener("click", e => {
  const button = e.target.closest("button");
  if (button) act(button.dataset.do);
});
byId("speed").addEventListener("change", () => { if (state.playing) { pause(); play(); } });
byId("time").addEventListener("input", e => { pause(); go(Number(e.target.value)); });
for (const id of ["list", "event"]) {
  byId(id).addEventListener("click", e => {
    const target = e.target.closest("[data-step]");
    if (target) { pause(); go(Number(target.dataset.step)); }
  });
}

function scrub(e) {
  if (!state.summary || e.type === "pointermove" && !e.buttons) return;
  if (e.type === "pointerdown") byId("timeline").setPointerCapture(e.pointerId);
  const box = byId("timeline").getBoundingClientRect();
  pause();
  go(Math.floor((e.clientX - box.left) / box.width * state.summary.steps));
}
byId("timeline").addEventListener("pointerdown", scrub);
byId("timeline").addEventListener("pointermove", scrub);

byId("findform").addEventListener("submit", e => e.preventDefault());
byId("find").addEventListener("keydown", async e => {
  const text = byId("find").value;
  if (e.key !== "Enter" || !state.summary || !text) return;
  e.preventDefault();
  pause();
  const found = await call("find", text, state.wanted, e.shiftKey ? -1 : 1);
  byId("find").classList.toggle("bad", found < 0);
  if (found >= 0) go(found);
});

async function openFile(file) {
  const most = 16 << 20; // as link.MaxText says
  if (!file) return;
  if (file.size > most) return say(`${file.name} has ${file.size} bytes; a schedule may have ${most}`, "bad");
  await open("openText", await file.text());
  if (state.summary) byId("title").textContent = `${file.name}: ${byId("title").textContent}`;
}

byId("open").onclick = () => byId("file").click();
byId("file").addEventListener("change", e => { openFile(e.target.files[0]); e.target.value = ""; });
byId("helpbutton").onclick = () => byId("help").showModal();
byId("seedform").addEventListener("submit", e => {
  e.preventDefault();
  location.hash = `seed=${byId("seed").value}`;
});
byId("copy").onclick = async () => {
  const link = location.href.split("#")[0] + address();
  try {
    await navigator.clipboard.writeText(link);
    say("The link is in the clipboard.");
  } catch (error) {
    say(link); // the reader copies it
  }
};

let dragged = 0;
addEventListener("dragenter", e => { e.preventDefault(); dragged++; byId("drop").hidden = false; });
addEventListener("dragleave", () => { if (--dragged <= 0) { dragged = 0; byId("drop").hidden = true; } });
addEventListener("dragover", e => e.preventDefault());
addEventListener("drop", e => {
  e.preventDefault();
  dragged = 0;
  byId("drop").hidden = true;
  openFile(e.dataTransfer.files[0]);
});

function redraw() {
  if (!state.summary) return;
  drawMap(state.summary);
  state.shown = -1;
  go(state.wanted);
}
dark.addEventListener("change", redraw);
new ResizeObserver(redraw).observe(byId("servers"));
new ResizeObserver(() => { if (state.summary) drawMap(state.summary); }).observe(byId("timeline"));

function fromAddress() {
  if (location.hash.length > 1) open("openLink", location.hash);
  else { state.opening++; clear(); }
}
addEventListener("hashchange", fromAddress);
fromAddress();
