// The reader's input: keys, clicks, the slider, the wheel.

let waiting = false;
function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    draw();
    drawMap();
    fillLogs();
    fillDetail();
    markList();
    const slider = byId("time");
    slider.max = view.columns.length - 1;
    slider.value = view.column[view.now];
    toFragment();
  });
}

// rebuild chooses the steps that are shown again, and draws them.
function rebuild() {
  relay(view.now);
  fillBar();
  fillList();
}

const tools = {
  causes() { view.causes = !view.causes; look(view.now); fillBar(); },
  fold() {
    if (view.folded.size) view.folded.clear();
    else for (const g of groups) view.folded.add(g.first);
    rebuild();
  },
  all() { fit(view.columns.length, 0); redraw(); },
  end() { fit(Math.min(view.columns.length, 44)); look(broken >= 0 ? broken : steps.length - 1); },
  zoom(factor) { fit(room() / view.width * factor, view.column[view.now]); look(view.now); },
};

const keys = {
  ArrowLeft: () => advance(-1), ArrowRight: () => advance(1),
  ArrowUp: () => advance(-1, weighty), ArrowDown: () => advance(1, weighty),
  Home: () => look(0), End: () => tools.end(), "0": () => tools.all(),
  "+": () => tools.zoom(0.7), "=": () => tools.zoom(0.7), "-": () => tools.zoom(1.4), c: () => tools.causes(), f: () => tools.fold(),
};

document.addEventListener("keydown", e => {
  if (e.ctrlKey || e.metaKey || e.altKey || !keys[e.key]) return;
  e.preventDefault();
  keys[e.key]();
});

byId("bar").addEventListener("click", e => {
  const button = e.target.closest("button");
  if (!button) return;
  button.blur();
  if (button.dataset.tool) return tools[button.dataset.tool]();
  const name = button.dataset.family;
  view.families[name] = {full: "dim", dim: "hidden", hidden: "full"}[view.families[name]];
  rebuild();
});

byId("time").addEventListener("input", e => look(stepOf(Number(e.target.value))));
byId("list").addEventListener("click", e => {
  const item = e.target.closest("li");
  if (item) look(stepOf(Number(item.dataset.c)));
});

function mapMoved(e) {
  if (e.type === "pointermove" && !e.buttons) return;
  const box = byId("map").getBoundingClientRect();
  const column = Math.floor((e.clientX - box.left) / box.width * view.columns.length);
  look(stepOf(Math.max(0, Math.min(column, view.columns.length - 1))));
}
byId("map").addEventListener("pointerdown", mapMoved);
byId("map").addEventListener("pointermove", mapMoved);

chart.addEventListener("wheel", e => {
  e.preventDefault();
  if (e.ctrlKey || e.metaKey) {
    const under = view.first + (e.clientX - chart.getBoundingClientRect().left - gutter) / view.width;
    fit(room() / view.width * Math.exp(e.deltaY / 300), under);
  } else {
    view.first += (Math.abs(e.deltaX) > Math.abs(e.deltaY) ? e.deltaX : e.deltaY) / view.width;
    clamp();
  }
  redraw();
}, {passive: false});

chart.addEventListener("click", e => {
  const touched = e.target.closest("[data-i]");
  if (touched) {
    const i = Number(touched.dataset.i);
    if (view.inFold[i] === i && steps[i].k === "begin") {
      view.folded.delete(i);
      rebuild();
      return;
    }
    look(i);
    return;
  }
  const column = Math.floor(view.first + (e.clientX - chart.getBoundingClientRect().left - gutter) / view.width);
  if (column >= 0 && column < view.columns.length) look(stepOf(column));
});

// tipText returns a text about what is under the pointer.
function tipText(touched) {
  if (touched.dataset.tip) return touched.dataset.tip;
  if (touched.dataset.m !== undefined) {
    const m = messages[touched.dataset.m];
    const end = m.at ? m.at.map(i => `arrives in step ${i}, ${milliseconds(steps[i].at)}`).join("\n")
      : {cut: "lost: the link is cut", lost: "lost on its way", down: "arrives at a server that is down"}[m.fate] || "never arrives";
    return `${m.from + 1} → ${m.to + 1} ${m.text}\nsent in step ${m.sent}, ${milliseconds(steps[m.sent].at)}\n${end}`;
  }
  const i = Number(touched.dataset.i), step = steps[i];
  const lines = [`step ${i}, ${milliseconds(step.at)}`, step.text].concat(changes(i).map(c => `${c.server + 1}: ${c.text}`), step.notes || [], (step.answers || []).map(a => a.text));
  if (view.inFold[i] === i) lines.push("click to unfold");
  return lines.join("\n");
}

chart.addEventListener("mousemove", e => {
  const tip = byId("tip"), touched = e.target.closest("[data-m], [data-i], [data-tip]");
  tip.hidden = !touched;
  if (!touched) return;
  tip.textContent = tipText(touched);
  tip.style.left = Math.min(e.clientX + 14, window.innerWidth - tip.offsetWidth - 8) + "px";
  tip.style.top = Math.min(e.clientY + 14, window.innerHeight - tip.offsetHeight - 8) + "px";
});
chart.addEventListener("mouseleave", () => { byId("tip").hidden = true; });

window.addEventListener("resize", () => { clamp(); redraw(); });
window.addEventListener("hashchange", () => { fromFragment(); fillBar(); fillList(); });

// At first the founding of the cluster is folded, unless it goes wrong, and heartbeats are dim.
for (const f of families) view.families[f.name] = f.name === "heartbeat" ? "dim" : "full";
for (const g of groups) {
  if (g.name === "found" && g.last < steps.length - 1 && !(broken >= g.first && broken <= g.last)) view.folded.add(g.first);
}
fillHeader();
if (steps.length) {
  fromFragment();
  fillBar();
  fillList();
}
