// The diagram itself: an SVG that is made again, as text, each time for the columns in view.

const chart = document.getElementById("chart");
const top0 = 46; // pixels above the first lane, for the times and the links that are cut

function xOf(column) { return gutter + (column - view.first + 0.5) * view.width; }

function lanes() {
  const height = Math.max(chart.clientHeight, 220);
  const lane = (height - top0 - 12) / run.servers;
  return {height, lane, y: s => top0 + lane * (s + 0.5)};
}

// spans cuts the columns in view into pieces within which key stays the same.
function spans(from, to, key, draw) {
  let start = from, value = key(from);
  for (let c = from + 1; c <= to + 1; c++) {
    const next = c <= to ? key(c) : undefined;
    if (next === value) continue;
    if (value) draw(start, c, value);
    start = c;
    value = next;
  }
}

// seenAt returns the state that is seen after a column.
function seenAt(column) { return after[column + 1 < view.columns.length ? Math.max(view.columns[column + 1] - 1, 0) : steps.length - 1]; }

function faded(i) {
  if (view.chain && !view.chain.has(i)) return " far";
  return i > view.now ? " later" : "";
}

function draw() {
  const g = lanes();
  const from = Math.max(Math.floor(view.first) - 1, 0);
  const to = Math.min(Math.ceil(view.first + room() / view.width) + 1, view.columns.length - 1);
  const out = [];
  drawBroken(out, g);
  for (let s = 0; s < run.servers; s++) drawLane(out, g, s, from, to);
  drawFaults(out, g, from, to);
  drawTimes(out, from, to);
  drawNow(out, g);
  const labels = [];
  taken.above = Array(run.servers).fill(0).map(() => []);
  taken.below = Array(run.servers).fill(0).map(() => []);
  for (let m = 0; m < messages.length; m++) drawMessage(out, labels, g, m, from, to);
  for (let c = from; c <= to; c++) drawStep(out, labels, g, c);
  out.push(...labels);
  drawNames(out, g);
  chart.innerHTML = out.join("");
}

// drawLane draws the line of a server: a band in the colour of its term, the line in a style for
// its role, and a bar beneath it while its disk writes.
function drawLane(out, g, s, from, to) {
  const y = g.y(s), tall = Math.min(g.lane * 0.30, 60);
  spans(from, to, c => { const st = seenAt(c).states[s]; return st.role === "down" ? "down" : `t${st.term}`; }, (a, b, key) => {
    const x = xOf(a), width = (b - a) * view.width;
    if (key === "down") {
      out.push(`<line x1="${x}" x2="${x + width}" y1="${y}" y2="${y}" stroke="#adb5bd" stroke-width="1.5" stroke-dasharray="2 5"/>`);
      return;
    }
    const term = Number(key.slice(1));
    out.push(`<rect x="${x}" y="${y - tall}" width="${width}" height="${2 * tall}" fill="${termColour(term, 93)}"/>`);
    if (width > 20) out.push(`<text class="small" x="${x + 3}" y="${y - tall + 10}">t${term}</text>`);
  });
  spans(from, to, c => { const st = seenAt(c).states[s]; return st.role === "down" ? "" : `${st.role} ${st.term}`; }, (a, b, key) => {
    const [role, term] = key.split(" ");
    out.push(`<line x1="${xOf(a)}" x2="${xOf(b)}" y1="${y}" y2="${y}" ${roleStyle(role, Number(term))}/>`);
  });
  spans(from, to, c => { const st = seenAt(c).states[s]; return st.w && st.role !== "down" ? "w" : ""; }, (a, b) =>
    out.push(`<line x1="${xOf(a)}" x2="${xOf(b)}" y1="${y + 7}" y2="${y + 7}" stroke="#f08c00" stroke-width="3" opacity=".75"/>`));
  spans(from, to, c => seenAt(c).states[s].lost || "", (a, b, lost) =>
    out.push(`<line x1="${xOf(a)}" x2="${xOf(b)}" y1="${y + 11}" y2="${y + 11}" stroke="${changeColour.lost}" stroke-width="3" stroke-dasharray="2 2" data-tip="server ${s + 1} lacks the bytes of ${escape(lost)}"/>`));
  spans(from, to, c => { const st = seenAt(c).states[s]; return st.full && st.role !== "down" ? "full" : ""; }, (a, b) =>
    out.push(`<line x1="${xOf(a)}" x2="${xOf(b)}" y1="${y + 11}" y2="${y + 11}" stroke="#c92a2a" stroke-width="3" opacity=".75" data-tip="the disk is full"/>`));
}

function roleStyle(role, term) {
  const colour = termColour(term, 36);
  switch (role) {
  case "leader": return `stroke="${colour}" stroke-width="8"`;
  case "candidate": return `stroke="${colour}" stroke-width="4" stroke-dasharray="9 4"`;
  case "pre-candidate": return `stroke="${colour}" stroke-width="4" stroke-dasharray="3 4"`;
  }
  return `stroke="${colour}" stroke-width="1.5"`;
}

// drawFaults draws which links are cut, and which servers and disks stand still.
function drawFaults(out, g, from, to) {
  spans(from, to, c => seenAt(c).cut.join(", "), (a, b, links) => {
    const x = xOf(a), width = (b - a) * view.width;
    out.push(`<rect x="${x}" y="20" width="${width}" height="15" fill="#ffe3e3" stroke="#fa5252" stroke-width=".5" data-tip="cut: ${links}"/>`);
    out.push(`<text class="small" x="${Math.max(x, gutter) + 3}" y="31" fill="#c92a2a">cut ${fitted(links, width - 24)}</text>`);
  });
  steps.forEach((step, i) => {
    if (!step.until || step.s < 0) return;
    let end = i;
    while (end + 1 < steps.length && steps[end + 1].at < step.until && steps[end + 1].k !== "begin") end++;
    const a = view.column[i], b = view.column[end] + 1;
    if (b < from || a > to) return;
    const y = g.y(step.s), disk = !step.text.startsWith("pause");
    const what = disk ? "disk stalls" : "paused";
    out.push(`<rect x="${xOf(a)}" y="${disk ? y + 4 : y - 12}" width="${(b - a) * view.width}" height="${disk ? 9 : 24}" fill="${disk ? "#f08c00" : "#495057"}" opacity=".3" data-tip="${what} ${step.until < 2 ** 42 ? "until " + milliseconds(step.until) : "for good"}"/>`);
    if ((b - a) * view.width > 50) out.push(`<text class="small" x="${xOf(a) + 4}" y="${y + (disk ? 22 : -15)}">${what}</text>`);
  });
}

// fitted shortens a text so that it fits into a width.
function fitted(text, width) {
  const count = Math.max(Math.floor(width / 5.5), 0);
  return escape(text.length > count ? text.slice(0, Math.max(count - 1, 0)) + "…" : text);
}

// drawTimes labels columns with their times. It prints as few decimals as tell neighbours apart.
function drawTimes(out, from, to) {
  const labels = [];
  for (let c = from, free = gutter; c <= to; c++) {
    const i = view.columns[c];
    const at = steps[i].at, old = i > 0 ? steps[i - 1].at : -1;
    if (xOf(c) < free || at === old && c > from) continue;
    labels.push({ x: xOf(c), at: at / 1e6 });
    free = xOf(c) + 80;
  }
  const distinct = (decimals) => labels.every((l, i) => i === 0 || l.at.toFixed(decimals) !== labels[i - 1].at.toFixed(decimals));
  const decimals = [0, 1, 2].find(distinct) ?? 3;
  for (const { x, at } of labels) {
    out.push(`<text class="small" x="${x}" y="12" text-anchor="middle">${at.toFixed(decimals)} ms</text>`);
  }
}

// drawNow marks the step at which the reader looks, and makes what follows lighter.
function drawNow(out, g) {
  const x = xOf(view.column[view.now]);
  if (view.column[view.now] < view.columns.length - 1) out.push(`<rect x="${x}" y="16" width="${Math.max(chart.clientWidth - x, 0)}" height="${g.height - 16}" fill="#fff" opacity=".5"/>`);
  out.push(`<line x1="${x}" x2="${x}" y1="16" y2="${g.height}" stroke="#f08c00" stroke-width="1.5" stroke-dasharray="5 3"/>`);
}

// drawBroken marks where the invariant was found broken.
function drawBroken(out, g) {
  if (broken < 0) return;
  const x = xOf(view.column[broken]), width = Math.max(view.width, 14);
  out.push(`<rect x="${x - width / 2}" y="16" width="${width}" height="${g.height - 16}" fill="#ff8787" opacity=".28"/>`);
}

// drawMessage draws an arrow for each arrival of a message, or a stub that ends in a cross.
function drawMessage(out, labels, g, number, from, to) {
  const m = messages[number], show = view.families[m.family.name];
  if (show === "hidden") return;
  const a = view.column[m.sent];
  if (m.at) {
    m.at.forEach((arrival, copy) => {
      const b = view.column[arrival];
      if (b < from || a > to) return;
      if (view.inFold[arrival] >= 0 && view.inFold[arrival] === view.inFold[m.sent]) return;
      drawArrow(out, labels, g, number, a, b, arrival, copy, show);
    });
    return;
  }
  if (view.inFold[m.sent] >= 0 || a > to || view.column[m.fateAt || m.sent] < from) return;
  drawLost(out, labels, g, number, a, show);
}

function drawArrow(out, labels, g, number, a, b, arrival, copy, show) {
  const m = messages[number], colour = m.family.colour;
  const x1 = xOf(a), x2 = xOf(b), y1 = g.y(m.from), y2 = g.y(m.to);
  const near = arrival === view.now || m.sent === view.now;
  const answer = m.kind.endsWith("Response");
  let style = faded(arrival);
  if (show === "dim" && !near && !style) style = " dim";
  const length = Math.hypot(x2 - x1, y2 - y1) || 1, ux = (x2 - x1) / length, uy = (y2 - y1) / length;
  const ex = x2 - ux * 5, ey = y2 - uy * 5;
  const wide = near ? 3 : show === "dim" ? 1 : 1.7;
  const dash = copy > 0 ? ` stroke-dasharray="2 3"` : answer ? ` stroke-dasharray="7 3"` : "";
  out.push(`<g class="${style}" data-m="${number}" data-i="${arrival}"><line x1="${x1}" y1="${y1}" x2="${ex}" y2="${ey}" stroke="${colour}" stroke-width="${wide}"${dash}/>`);
  if (view.width > 4) {
    const s = near ? 9 : 7;
    out.push(`<path d="M${ex} ${ey}l${-ux * s - uy * s * .45} ${-uy * s + ux * s * .45}l${uy * s * .9} ${-ux * s * .9}z" fill="${colour}"/>`);
  }
  out.push(`<line class="hit" x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}"/></g>`);
  if (view.width >= 20 && (show === "full" || near) && !style) {
    // The name of a request stands near its start, that of an answer near its end: so the two seldom meet.
    const at = answer ? 0.62 : 0.40, text = m.short + (copy > 0 ? " (again)" : "");
    drawAlong(labels, x1 + (x2 - x1) * at, y1 + (y2 - y1) * at, ux, uy, text, colour, near);
  }
}

// drawAlong writes a text along a line, never upside down.
function drawAlong(labels, x, y, ux, uy, text, colour, strong) {
  let angle = Math.atan2(uy, ux) * 180 / Math.PI;
  if (angle > 90 || angle < -90) angle += 180;
  labels.push(`<text class="halo" text-anchor="middle" transform="translate(${x} ${y}) rotate(${angle})" dy="-3" style="fill:${colour};${strong ? "font-weight:700;font-size:12px" : "font-size:10.5px"}">${escape(text)}</text>`);
}

function drawLost(out, labels, g, number, a, show) {
  const m = messages[number];
  const x1 = xOf(a), y1 = g.y(m.from);
  const near = m.sent === view.now, down = m.fate === "down";
  const x2 = down ? xOf(view.column[m.fateAt]) : x1 + Math.min(Math.max(view.width * 0.6, 6), 26);
  const y2 = down ? g.y(m.to) : y1 + Math.sign(m.to - m.from) * (near ? 0.42 : 0.3) * g.lane;
  let style = faded(m.sent);
  if (!near && !style && (show === "dim" || !m.fate)) style = " dim";
  const colour = m.fate ? "#e03131" : m.family.colour, s = 4;
  out.push(`<g class="${style}" data-m="${number}" data-i="${m.sent}"><line x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}" stroke="${m.family.colour}" stroke-width="${near ? 2.5 : 1.4}"/>` +
    `<path d="M${x2 - s} ${y2 - s}l${2 * s} ${2 * s}m0 ${-2 * s}l${-2 * s} ${2 * s}" stroke="${colour}" stroke-width="2" fill="none"/>` +
    `<line class="hit" x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}"/></g>`);
  if (near && view.width >= 20) labels.push(`<text class="halo" x="${x2 + 7}" y="${y2 + 4}" style="fill:${m.family.colour};font-weight:700">${escape(m.short)}${m.sent === broken && view.now === broken ? "" : m.fate ? " (" + m.fate + ")" : ""}</text>`);
}

// drawStep draws the step of a column: a sign on the line of its server, its name, and what it changes.
function drawStep(out, labels, g, column) {
  const i = view.columns[column], step = steps[i], x = xOf(column), style = faded(i);
  if (view.inFold[i] === i || step.k === "begin") {
    const group = groups.find(group => group.first === i);
    out.push(`<g data-i="${i}" class="touched"><rect x="${x - 5}" y="${top0 - 4}" width="10" height="${g.height - top0}" rx="4" fill="#e9ecef" stroke="#adb5bd"/></g>`);
    const text = view.inFold[i] === i ? `${group.name}: ${group.last - group.first - 1} events (click unfolds)` : group.name;
    labels.push(`<text class="small halo" transform="translate(${x + 4} ${g.height - 12}) rotate(-90)">${escape(text)}</text>`);
    return;
  }
  if (step.s >= 0 && step.k !== "cut" && step.k !== "join") {
    const y = g.y(step.s);
    const size = Math.min(1, Math.max(0.4, view.width / 14));
    out.push(`<g data-i="${i}" class="touched${style}" transform="translate(${x} ${y}) scale(${size})"><circle r="9" fill="transparent"/>${sign(step)}</g>`);
  }
  if (i === broken) drawVerdict(labels, g, step, x);
  if (view.width < 16) return;
  if (step.label && step.k !== "cut" && step.k !== "join") {
    const colour = ["crash", "wipe", "fault", "lose"].includes(step.k) ? "#c92a2a" : "#57606a";
    if (step.s >= 0) place(labels, g, "below", step.s, x, step.label, `class="halo${style}" style="font-size:10px;fill:${colour}"`);
    else if (i !== broken) labels.push(`<text class="halo${style}" text-anchor="middle" x="${x}" y="${top0 - 2}" style="font-size:10px;fill:${colour}">${escape(step.label)}</text>`);
  }
  drawChanges(labels, g, i, x, style);
}

// taken has, for each row above and below each server's line, the place where the last text ends.
const taken = {above: [], below: []};

// place writes a text above or below a server's line, in the first row in which it doesn't meet
// another text. If there is no such row, it leaves the text out. It returns the text's place, or null.
function place(labels, g, side, server, x, text, attributes) {
  const rows = taken[side][server], half = text.length * (side === "above" ? 3.5 : 3) + 2;
  const count = Math.max(Math.floor((g.lane / 2 - 14) / (side === "above" ? 17 : 11)), 1);
  for (let row = 0; row < count; row++) {
    if (rows[row] > x - half) continue;
    rows[row] = x + half;
    const y = side === "above" ? g.y(server) - 15 - 17 * row : g.y(server) + 21 + 11 * row;
    labels.push(`<text ${attributes} text-anchor="middle" x="${x}" y="${y}">${escape(text)}</text>`);
    return {x, y, half};
  }
  return null;
}

// drawChanges writes a new role and answers above the line, and cursors that moved beneath it.
function drawChanges(labels, g, i, x, style) {
  for (const change of changes(i)) {
    if (change.kind === "role") {
      const term = after[i].states[change.server].term, at = labels.length;
      const placed = place(labels, g, "above", change.server, x, change.text, `class="role${style}"`);
      if (placed) labels.splice(at, 0, `<rect class="${style}" x="${x - placed.half}" y="${placed.y - 12}" width="${2 * placed.half}" height="16" rx="3" fill="${termColour(term, 85)}" stroke="${termColour(term, 40)}"/>`);
    } else if (change.kind !== "term") {
      place(labels, g, "below", change.server, x, change.short, `class="halo${style}" style="font-size:10px;font-weight:700;fill:${changeColour[change.kind]}"`);
    }
  }
  for (const a of steps[i].answers || []) {
    const mark = {done: "✓", refused: "✗", unknown: "?"}[a.outcome];
    place(labels, g, "above", steps[i].s, x, `${mark} ${a.read ? "read" : "command"} ${a.op}`, `class="halo${style}" style="font-weight:700;fill:${a.outcome === "done" ? "#2b8a3e" : "#c92a2a"}"`);
  }
}

// sign returns the mark of a step on the line of its server. The mark is drawn around the origin.
function sign(step) {
  switch (step.k) {
  case "deliver": return `<circle r="3.5" fill="${step.m >= 0 ? messages[step.m].family.colour : "#1c2128"}"/>`;
  case "miss": return "";
  case "expire": return `<circle r="6.5" fill="#fff" stroke="#1c2128" stroke-width="1.5"/><path d="M0 -4v4h3" stroke="#1c2128" stroke-width="1.3" fill="none"/>`;
  case "persist": return `<rect x="-4.5" y="-4.5" width="9" height="9" fill="#fff" stroke="#e8590c" stroke-width="2"/>`;
  case "apply": return `<path d="M0 -6l6 6l-6 6l-6 -6z" fill="#fff" stroke="#2b8a3e" stroke-width="2"/>`;
  case "propose": case "read": return `<path d="M-6 -12h12l-6 10z" fill="${step.k === "read" ? "#0b8494" : "#1c2128"}"/>`;
  case "crash": case "wipe": return `<path d="M-7 -7l14 14m0 -14l-14 14" stroke="#c92a2a" stroke-width="4"/>`;
  case "lose": return `<path d="M-2 -10h4l-1 12h-2zM-1.5 5h3v4h-3z" fill="#c92a2a" stroke="#c92a2a"/>`;
  case "start": return `<circle r="6" fill="#2b8a3e"/>`;
  case "fault": case "transfer": case "probe": case "lost": case "cancel": return `<path d="M0 -5l5 5l-5 5l-5 -5z" fill="#c92a2a"/>`;
  }
  return `<circle r="2" fill="#1c2128"/>`;
}

function drawVerdict(labels, g, step, x) {
  const server = run.violation.server >= 0 ? run.violation.server : step.s;
  if (server >= 0) labels.push(`<circle cx="${x}" cy="${g.y(server)}" r="14" fill="none" stroke="#c92a2a" stroke-width="4"/>`);
  labels.push(`<text class="broken" x="${Math.min(x + 10, chart.clientWidth - 8)}" y="42" text-anchor="end">✱ ${escape(run.violation.name)}</text>`);
}

// drawNames writes the names and the present states of the servers, left of the first column.
function drawNames(out, g) {
  out.push(`<rect x="0" y="0" width="${gutter - 6}" height="${g.height}" fill="#fff"/>`);
  const seen = after[view.now];
  for (let s = 0; s < run.servers; s++) {
    const state = seen.states[s], y = g.y(s);
    out.push(`<text class="name" x="12" y="${y + 1}">${s + 1}</text><text x="30" y="${y - 3}">${state.role}</text>` +
      `<text class="small" x="30" y="${y + 10}">term ${state.term}${state.vote ? ", vote " + escape(state.vote) : ""}</text>`);
  }
}
