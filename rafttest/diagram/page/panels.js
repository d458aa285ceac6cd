// The parts around the diagram: the verdict, the legend, the logs, the list of events and the details.

const byId = id => document.getElementById(id);

function fillHeader() {
  const v = run.violation;
  byId("verdict").innerHTML = v
    ? `<h1>${escape(v.name)}</h1><span class="detail">${v.server >= 0 ? `server ${v.server + 1}: ` : ""}${escape(v.detail)}</span><div class="meaning">Broken: ${escape(v.meaning)}</div>`
    : `<h1 class="fine">no violation</h1><span class="detail">seed ${run.seed}, ${run.servers} servers</span>`;
  const list = all => all.map(p => `${escape(p.name)} ${p.value}`).join("<br>");
  byId("repeat").innerHTML = (run.repeat ? `<code>${escape(run.repeat)}</code> <button id="copy">copy</button>` : "") +
    `<details><summary>${steps.length} steps, ${messages.length} messages; parameters and counts</summary><div>${list(run.parameters)}<br><b>counts</b><br>${list(run.counts)}</div></details>`;
  if (run.repeat) byId("copy").onclick = () => navigator.clipboard && navigator.clipboard.writeText(run.repeat);
}

// fillBar makes the legend. In it the reader can dim and hide families of messages.
function fillBar() {
  const used = families.filter(f => messages.some(m => m.family === f));
  const line = style => `<svg width="22" height="10"><line x1="1" x2="21" y1="5" y2="5" ${style}/></svg>`;
  const buttons = used.map(f => `<button data-family="${f.name}" class="${view.families[f.name]}" title="full, dim, hidden">${line(`stroke="${f.colour}" stroke-width="2.5"`)} ${f.name}</button>`);
  const keys = [
    line(`stroke="#555" stroke-width="2" stroke-dasharray="7 3"`) + " answer",
    `<b style="color:#e03131">✕</b> lost`,
    line(roleStyle("leader", 1)) + " leader", line(roleStyle("candidate", 1)) + " candidate",
    line(roleStyle("pre-candidate", 1)) + " pre-candidate", line(roleStyle("follower", 1)) + " follower",
    line(`stroke="#f08c00" stroke-width="3"`) + " disk writes",
    ...(steps.some(s => s.damage) ? [line(`stroke="${changeColour.lost}" stroke-width="3" stroke-dasharray="2 2"`) + " bytes lost"] : []),
    `<b style="color:${changeColour.last}">L</b>ast <b style="color:${changeColour.stable}">D</b>isk <b style="color:${changeColour.commit}">C</b>ommit <b style="color:${changeColour.applied}">A</b>pplied`,
  ];
  const tools = `<button data-tool="causes" class="${view.causes ? "on" : ""}" title="key c">what led here</button>` +
    (groups.length ? `<button data-tool="fold" class="${view.folded.size ? "on" : ""}" title="key f">fold</button>` : "") +
    `<button data-tool="all" title="key 0">all</button>`;
  byId("bar").innerHTML = buttons.join("") + `<span class="gap"></span>` + keys.map(k => `<span class="key">${k}</span>`).join("") +
    `<span class="gap"></span>` + tools;
}

const cellWidth = 52; // in pixels, with its margin

// accused is the index that the violation names, or 0.
const accused = run.violation ? Number((/index (\d+)/.exec(run.violation.detail) || [0, 0])[1]) : 0;

// fillLogs shows the log of each server after the step, and above them all that is committed.
function fillLogs() {
  const seen = after[view.now];
  const last = Math.max(seen.committed, ...seen.logs.map(l => l.length), ...seen.states.map(s => s.l));
  const count = Math.max(Math.floor((byId("logs").clientWidth - 400) / cellWidth), 4);
  const from = Math.max(last - count, 0);
  const rows = [];
  rows.push(logRow(`<b>committed</b>, as an observer knows`, "observed", from, last, i => i < seen.committed ? cell(committed[i], "committed") : null, []));
  for (let s = 0; s < run.servers; s++) {
    const state = seen.states[s], log = seen.logs[s];
    const who = `<b>${s + 1}</b> ${state.role}, term ${state.term}${state.vote ? `, vote ${escape(state.vote)}` : ""}${state.wiped ? ", new disk" : ""}${state.full ? ", disk full" : ""}${state.lost ? `, <span style="color:${changeColour.lost}">bytes lost: ${escape(state.lost)}</span>` : ""}`;
    const marks = [{at: state.l, text: "last", colour: changeColour.last}, {at: state.d, text: "disk: durable", colour: changeColour.stable}];
    if (state.role !== "down") marks.push({at: state.c, text: "commit", colour: changeColour.commit}, {at: state.a, text: "applied", colour: changeColour.applied});
    rows.push(logRow(who, "", from, last, i => {
      if (i >= log.length) return i < state.l ? `<div class="cell unknown" title="not handed to the disk yet">${i + 1} …</div>` : null;
      const classes = [];
      if (i >= state.d) classes.push("volatile");
      if (i < state.c) classes.push("committed");
      if (i < state.c && i < seen.committed && committed[i] !== log[i]) classes.push("differs");
      if (i + 1 === accused) classes.push("accused");
      if (isLost(state, i + 1)) classes.push("lost");
      return cell(log[i], classes.join(" "), isLost(state, i + 1) ? "; the disk has lost its bytes" : "");
    }, marks));
  }
  byId("logs").className = run.servers > 4 ? "many" : "";
  byId("logs").innerHTML = rows.join("");
}

function cell(number, classes, more = "") {
  const e = entries[number];
  return `<div class="cell ${classes}" style="background-color:${termColour(e.t, 82)}" title="${escape(e.full + more)}"><b>${e.i}</b> <i>t${e.t}</i><br>${escape(e.text)}</div>`;
}

// logRow draws one log. The mark of a cursor stands under the right edge of the entry that it has reached.
function logRow(who, classes, from, last, cellAt, marks) {
  let cells = "";
  for (let i = from; i < last; i++) cells += cellAt(i) || `<div class="cell none"></div>`;
  const places = {};
  for (const m of marks) (places[m.at] = places[m.at] || []).push(m);
  let text = "";
  for (const at of Object.keys(places)) {
    if (at < from) continue;
    const names = places[at].map(m => `<span style="color:${m.colour}" title="${m.text} ${m.at}">${m.text[0].toUpperCase()}</span>`).join("");
    text += `<span class="mark" style="left:${(at - from) * cellWidth - 2}px">▲<br>${names}</span>`;
  }
  const more = from > 0 ? `<span class="more">${from} before …</span>` : `<span class="more"></span>`;
  return `<div class="log ${classes}"><div class="who">${who}</div>${more}<div class="cells" style="min-width:${(last - from) * cellWidth + 40}px">${cells}${text}</div></div>`;
}

// sentence returns the text of a step in the list.
function sentence(i) {
  const step = steps[i];
  if (view.inFold[i] === i) return `<span class="quiet">${escape(step.text)}: ${groups.find(g => g.first === i).last - i - 1} events in which nothing goes wrong</span>`;
  const text = step.m >= 0 ? `<b>${step.s + 1}</b> ← ${messages[step.m].from + 1} ${escape(messages[step.m].text)}${step.k === "miss" ? ", down" : ""}`
    : step.s >= 0 && step.k !== "cut" && step.k !== "join" && step.k !== "fault" ? `<b>${step.s + 1}</b> ${escape(step.label || step.text)}` : escape(step.k === "cut" ? "cut: " + after[i].cut.join(", ") : step.k === "fault" ? "fault: " + step.text : step.text);
  const badges = changes(i).filter(c => c.kind !== "term").map(c => c.kind === "role"
    ? `<span class="badge" style="background:${termColour(after[i].states[c.server].term, 85)}">${c.text}</span>`
    : `<span class="badge" style="color:${changeColour[c.kind]}">${c.text}</span>`).join("");
  const told = (step.answers || []).map(a => ` <span class="badge">${escape(a.text)}</span>`).join("");
  const end = i === broken ? `<div class="broken">✱ ${escape(run.violation.name)}: ${escape(run.violation.detail)}</div>` : "";
  return text + badges + told + end;
}

function fillList() {
  byId("list").innerHTML = view.columns.map((i, c) => `<li data-c="${c}"><span class="number">${i}</span>${sentence(i)}</li>`).join("");
}

let marked = -1;
function markList() {
  const list = byId("list"), column = view.column[view.now];
  if (marked >= 0 && list.children[marked]) list.children[marked].classList.remove("now");
  marked = column;
  const item = list.children[column];
  if (!item) return;
  item.classList.add("now");
  item.scrollIntoView({block: "nearest"});
}

// fillDetail shows all about a step.
function fillDetail() {
  const i = view.now, step = steps[i], was = before(i).states;
  const rows = (step.states || []).map(now => {
    const old = was[now.s];
    const value = (name, key) => `<td class="${now[key] !== old[key] ? "changed" : ""}">${name} ${old[key] !== now[key] ? `${escape(old[key] || 0)} → ` : ""}${escape(now[key] || 0)}</td>`;
    return `<tr><td><b>${now.s + 1}</b></td><td class="${now.role !== old.role ? "changed" : ""}">${now.role}</td>${value("term", "term")}${value("applied", "a")}</tr><tr><td></td>${value("commit", "c")}${value("disk", "d")}${value("last", "l")}</tr>`;
  }).join("");
  const sent = (step.sent || []).map(m => {
    const message = messages[m];
    const end = message.at ? `arrives in step ${message.at.join(" and ")}` : i === broken ? "" : message.fate ? {cut: "lost: the link is cut", lost: "lost", down: "arrives at a server that is down"}[message.fate] : "never arrives";
    return `<div style="color:${message.family.colour}">→ ${message.to + 1} ${escape(message.text)} <i>${end}</i></div>`;
  }).join("");
  byId("detail").innerHTML = `<b class="what">${i}: ${escape(step.text)}</b> at ${milliseconds(step.at)}` +
    (step.m >= 0 ? `<div>sent in step ${messages[step.m].sent}</div>` : "") +
    `<table>${rows}</table>${sent}` + (step.notes || []).map(t => `<div>${escape(t)}</div>`).join("") +
    (step.damage || []).map(d => `<div style="color:${changeColour[d.what]}">${d.s + 1}: ${escape(d.text)}</div>`).join("") +
    (i === broken ? `<div class="broken">✱ ${escape(run.violation.name)}: ${escape(run.violation.detail)}</div>` : "");
}

// drawMap draws the whole run in small: roles and terms of all servers, the part in view, and the present step.
function drawMap() {
  const map = byId("map"), wide = map.clientWidth, line = run.servers > 4 ? 5 : 7, tall = line * run.servers + 4;
  const scale = window.devicePixelRatio || 1;
  map.width = wide * scale;
  map.height = tall * scale;
  map.style.height = tall + "px";
  const c = map.getContext("2d");
  c.scale(scale, scale);
  const count = view.columns.length, step = wide / count;
  for (let k = 0; k < count; k++) {
    const seen = seenAt(k);
    for (let s = 0; s < run.servers; s++) {
      const state = seen.states[s];
      c.fillStyle = state.role === "down" ? "#fff" : termColour(state.term, state.role === "leader" ? 45 : state.role === "follower" ? 88 : 68);
      c.fillRect(k * step, 2 + s * line, step + 0.5, line - 1);
    }
    if (seen.cut.length) {
      c.fillStyle = "#fa5252";
      c.fillRect(k * step, 0, step + 0.5, 2);
    }
  }
  c.strokeStyle = "#f08c00";
  c.lineWidth = 2;
  c.strokeRect(view.first * step, 1, Math.min(room() / view.width, count) * step, tall - 2);
  c.fillStyle = "#c92a2a";
  if (broken >= 0) c.fillRect((view.column[broken] + 0.5) * step - 3, 0, 6, tall);
  c.fillStyle = "#e8590c";
  c.fillRect((view.column[view.now] + 0.5) * step - 1, 0, 2, tall);
}
