// The part of the run that is in view. A column is a step that is shown. Folded and hidden steps share
// the column before them.

const view = {
  now: 0,        // the step at which the reader looks
  first: 0,      // the leftmost column, with fractions
  width: 20,     // of a column, in pixels
  families: {},  // by name: "full", "dim" or "hidden"
  folded: new Set(), // first steps of groups
  causes: false, // show only the steps that led to now
  columns: [],   // steps, by column
  column: [],    // columns, by step
  inFold: [],    // by step: the first step of the folded group that it is in, or -1
  chain: null,   // the steps that led to now, when causes
};

const gutter = 118; // pixels left of the first column
const edge = 80;    // pixels right of the last

function layColumns() {
  view.inFold = Array(steps.length).fill(-1);
  for (const g of groups) {
    if (view.folded.has(g.first)) for (let i = g.first; i <= g.last; i++) view.inFold[i] = g.first;
  }
  view.columns = [];
  view.column = [];
  steps.forEach((step, i) => {
    if (shown(i)) view.columns.push(i);
    view.column[i] = Math.max(view.columns.length - 1, 0);
  });
}

// shown reports whether a step has a column of its own.
function shown(i) {
  const step = steps[i];
  if (i === broken) return true;
  if (view.inFold[i] >= 0) return view.inFold[i] === i;
  if (step.k === "end") return false;
  if ((step.k === "cut" || step.k === "join") && i + 1 < steps.length && steps[i + 1].k === step.k) return false;
  if (step.states || step.logs || step.answers) return true;
  const hidden = m => view.families[messages[m].family.name] === "hidden";
  const sends = (step.sent || []).some(m => !hidden(m));
  if (step.k === "drain") return sends;
  if (step.m >= 0) return sends || !hidden(step.m);
  return true;
}

function room() { return Math.max(chart.clientWidth - gutter - edge, 100); }

// fit shows a number of columns. The given column stays where it is; without one, fit shows the last ones.
function fit(count, around) {
  const old = view.width;
  view.width = Math.min(Math.max(room() / Math.max(count, 1), 1.5), 96);
  if (around === undefined) view.first = view.columns.length;
  else view.first = around - (around - view.first) * old / view.width;
  clamp();
}

function clamp() {
  view.first = Math.max(Math.min(view.first, view.columns.length - room() / view.width), 0);
}

// look moves to a step, and moves the view with it.
function look(i) {
  view.now = Math.max(0, Math.min(i, steps.length - 1));
  view.chain = view.causes ? leading(view.now) : null;
  const column = view.column[view.now], count = room() / view.width;
  if (column < view.first + 1) view.first = column - count / 4;
  if (column > view.first + count - 2) view.first = column - count * 3 / 4;
  clamp();
  redraw();
}

// advance goes on by a column in a direction, or to the next step in that direction that passes the test.
function advance(direction, test) {
  let column = view.column[view.now] + direction;
  while (test && column > 0 && column < view.columns.length - 1 && !test(view.columns[column])) column += direction;
  column = Math.max(0, Math.min(column, view.columns.length - 1));
  look(stepOf(column));
}

// stepOf returns the step that a column stands for. For a folded group it is the last one.
function stepOf(column) {
  const i = view.columns[column];
  const g = groups.find(g => g.first === i && view.folded.has(i));
  return g ? g.last : i;
}

function relay(keep) {
  layColumns();
  clamp();
  look(keep);
}

// The fragment of the address keeps the view: #t=STEP&cols=COLUMNS&causes=1&unfold=1.
function fromFragment() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  if (wanted.get("unfold")) view.folded.clear();
  for (const f of families) if (wanted.get(f.name)) view.families[f.name] = wanted.get(f.name);
  layColumns();
  view.causes = wanted.get("causes") === "1";
  const count = Number(wanted.get("cols")) || Math.min(view.columns.length, view.columns.length <= 64 ? 64 : 44);
  fit(count);
  const t = wanted.get("t");
  look(t !== null && t !== "" ? Number(t) : broken >= 0 ? broken : steps.length - 1);
}

function toFragment() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  wanted.set("t", view.now);
  wanted.set("cols", Math.round(room() / view.width));
  if (view.causes) wanted.set("causes", 1); else wanted.delete("causes");
  try { history.replaceState(null, "", "#" + wanted); } catch (e) { /* not allowed for every kind of address */ }
}
