"use strict";

// The run, and what is computed from it once.

const run = JSON.parse(document.getElementById("data").textContent);
const steps = run.steps, messages = run.messages, entries = run.entries;

// Families of messages: a request and its answer share a colour; the answer is dashed.
const families = [
  {name: "pre-vote", colour: "#a36bd6", kinds: ["PreVoteRequest", "PreVoteResponse"]},
  {name: "vote", colour: "#4c3fd1", kinds: ["VoteRequest", "VoteResponse"]},
  {name: "append", colour: "#17803f", kinds: ["AppendRequest", "AppendResponse"]},
  {name: "heartbeat", colour: "#8a929a", kinds: ["Heartbeat", "HeartbeatResponse"]},
  {name: "timeout-now", colour: "#d9480f", kinds: ["TimeoutNow"]},
  {name: "forward", colour: "#a8660b", kinds: ["ForwardRequest", "ForwardResponse"]},
  {name: "read", colour: "#0b8494", kinds: ["ReadRequest", "ReadResponse"]},
  {name: "repair", colour: "#c2255c", kinds: ["RepairRequest", "RepairResponse", "SnapshotPull"]},
  {name: "other", colour: "#444c56", kinds: []},
];
const familyOf = {};
for (const f of families) for (const kind of f.kinds) familyOf[kind] = f;
for (const m of messages) m.family = familyOf[m.kind] || families[families.length - 1];

// termColour returns the colour of a term at a lightness in percent. Terms that follow each other differ most.
const hues = [212, 38, 145, 330, 265, 85, 12, 180];
function termColour(term, light) {
  if (!term) return `hsl(0 0% ${Math.min(light + 2, 97)}%)`;
  return `hsl(${hues[(term - 1) % hues.length]} ${light > 80 ? 75 : 60}% ${light}%)`;
}

// after[i] is what is seen after step i: the state and the log (numbers of entries) of each server,
// the number of committed entries, and the links that are cut. A step shares what it doesn't change
// with the step before.
const after = [];
const committed = []; // entries in order, as far as some leader has committed them
(function replay() {
  const nobody = {role: "down", term: 0, a: 0, c: 0, d: 0, l: 0, w: 0};
  let states = Array(run.servers).fill(nobody), logs = Array(run.servers).fill([]), cut = [];
  for (const step of steps) {
    if (step.states) {
      states = states.slice();
      for (const s of step.states) states[s.s] = s;
    }
    if (step.logs) {
      logs = logs.slice();
      for (const c of step.logs) logs[c.s] = logs[c.s].slice(0, c.after).concat(c.entries);
    }
    if (step.committed) committed.push(...step.committed);
    const link = `${step.p + 1}→${step.s + 1}`;
    if (step.k === "cut") cut = cut.concat(link);
    if (step.k === "join") cut = cut.filter(l => l !== link);
    if (step.k === "heal" || step.k === "begin" && step.text === "settle") cut = [];
    after.push({states, logs, cut, committed: committed.length});
  }
})();

function before(i) {
  return i > 0 ? after[i - 1] : {states: after[0].states.map(() => ({role: "down", term: 0, a: 0, c: 0, d: 0, l: 0})),
    logs: after[0].logs.map(() => []), cut: [], committed: 0};
}

// broken is the step in which the invariant was found broken, or -1.
const broken = (function () {
  if (!run.violation) return -1;
  let i = steps.length - 1;
  if (run.violation.name !== "Convergence") while (i > 0 && steps[i].k === "end") i--;
  return i;
})();

// changes lists what a step changes at servers, weighty changes first: {server, text, kind}.
function changes(i) {
  const list = [], was = before(i).states;
  for (const d of steps[i].damage || []) list.push({server: d.s, kind: d.what, text: d.text, short: d.short});
  for (const now of steps[i].states || []) {
    const old = was[now.s], server = now.s;
    if (now.role !== old.role && now.role !== "down" && !(old.role === "down" && now.role === "follower"))
      list.push({server, kind: "role", text: `${now.role} t${now.term}`, short: `${now.role} t${now.term}`});
    else if (now.term !== old.term)
      list.push({server, kind: "term", text: `term ${now.term}`, short: `t${now.term}`});
    if (now.role === "down" || old.role === "down") continue;
    if (now.c !== old.c) list.push({server, kind: "commit", text: `commit ${now.c}`, short: `C${now.c}`});
    if (now.l !== old.l) list.push({server, kind: "last", text: `last ${now.l}`, short: `L${now.l}`});
    if (now.d !== old.d) list.push({server, kind: "stable", text: `on disk ${now.d}`, short: `D${now.d}`});
    if (now.a !== old.a) list.push({server, kind: "applied", text: `applied ${now.a}`, short: `A${now.a}`});
  }
  return list;
}
const changeColour = {role: "#1c2128", term: "#57606a", commit: "#1864ab", last: "#57606a", stable: "#c2410c", applied: "#2b8a3e",
  lost: "#c92a2a", repaired: "#c2255c", gone: "#57606a"};

// isLost reports whether the disk of a server has lost the bytes of the entry at an index.
function isLost(state, index) {
  return !!state.lost && state.lost.split(" ").some(range => {
    const [first, last] = range.split("-").map(Number);
    return first <= index && index <= (last || first);
  });
}

// weighty reports whether a step is one at which a reader wants to stop.
function weighty(i) {
  const step = steps[i];
  if (i === broken || i === 0 || i === steps.length - 1 || step.answers) return true;
  if (["crash", "wipe", "start", "fault", "cut", "heal", "propose", "read", "transfer", "begin"].includes(step.k)) return true;
  return changes(i).some(c => ["role", "term", "commit", "lost", "repaired", "gone"].includes(c.kind));
}

// groups are the events in which time passes by itself, each with its first and its last step.
const groups = [];
steps.forEach((step, i) => {
  if (step.k === "begin") groups.push({first: i, last: steps.length - 1, name: step.text});
  if (step.k === "end" && groups.length) groups[groups.length - 1].last = i;
});

// leading returns the set of steps on which the given one may depend: the earlier steps at its
// server, the steps in which the messages that were delivered there were sent, and so on.
function leading(i) {
  const previous = [], last = Array(run.servers).fill(-1);
  steps.forEach((step, j) => {
    previous[j] = step.s >= 0 ? last[step.s] : -1;
    if (step.s >= 0) last[step.s] = j;
  });
  const found = new Set(), todo = [i];
  while (todo.length) {
    const j = todo.pop();
    if (j < 0 || found.has(j)) continue;
    found.add(j);
    todo.push(previous[j]);
    if (steps[j].m >= 0) todo.push(messages[steps[j].m].sent);
  }
  return found;
}

function milliseconds(at) { return (at / 1e6).toFixed(3) + " ms"; }

const escapes = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"};
function escape(text) { return String(text).replace(/[&<>"]/g, c => escapes[c]); }
