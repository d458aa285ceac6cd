// The live page: it shows the cluster as the stream of views tells it, and asks for what the buttons
// and the keys stand for.
import { attr, el, leaderOf, number, text } from './dom.js';
import { Cards } from './cards.js';
import { Ring } from './ring.js';
import { Strip } from './strip.js';

const get = id => document.getElementById(id);
const maxLog = 200;

const lab = {
  token: location.hash.slice(1) || sessionStorage.getItem('raftlab token') || '',
  actions: [], loads: [], chosen: null, armed: null, view: null, asked: Promise.resolve(),

  // choose selects a server. While an action waits for its other server, that one is meant.
  choose(id) {
    if (lab.armed && lab.chosen && id !== lab.chosen) {
      lab.act(lab.armed.name, lab.chosen, id);
      lab.disarm();
      return;
    }
    lab.chosen = id;
    redraw();
  },

  arm(action) {
    lab.armed = action;
    hint(`${action.label}: ${lab.chosen}–? Press the number of the other server, or click it. Esc: don't.`);
  },

  disarm() {
    lab.armed = null;
    hint('');
  },

  // act asks for an action, when the one before was performed.
  act(action, server = '', to = '', value = '') {
    lab.asked = lab.asked.then(() => ask({ action, server, to, value }));
  },
};

async function ask(request) {
  try {
    const answer = await fetch('/do', {
      method: 'POST', headers: { 'Content-Type': 'application/json', 'X-Raftlab-Token': lab.token }, body: JSON.stringify(request),
    });
    if (!answer.ok) hint((await answer.text()).trim(), 5000);
  } catch {
    hint('the lab doesn’t answer', 5000);
  }
}

let ring, cards, strip, hintTimer, told = '', newest = 0; // the number of the newest piece of news

// hint shows a line at the bottom: for a time, or until the next one.
function hint(words, time) {
  clearTimeout(hintTimer);
  text(get('hint'), words);
  get('hint').hidden = !words;
  if (time) hintTimer = setTimeout(() => hint(''), time);
}

function redraw() {
  if (!lab.view) return;
  if (lab.chosen && !lab.view.servers.some(s => s.id === lab.chosen)) lab.chosen = null;
  ring.update(lab.view);
  cards.update(lab.view);
}

function welcome(words) {
  Object.assign(lab, words);
  if (ring) return; // the stream was broken and is there again
  ring = new Ring(get('ring'), get('legend'), lab);
  cards = new Cards(get('cards'), lab);
  strip = new Strip(lab);
  for (const a of lab.actions.filter(a => a.group === 'cluster')) {
    get('commands').append(el('button', { type: 'button', title: a.means, 'data-action': a.name, onclick: () => lab.act(a.name) }, a.label, el('kbd', {}, a.key)));
  }
  fillHelp();
}

function show(view) {
  lab.view = view;
  if (document.hidden) { log(view.news); strip.update(view); return; }
  redraw();
  ring.spawn(view);
  strip.update(view);
  log(view.news);
  summarise(view);
}

function summarise(view) {
  const lead = leaderOf(view), run = view.servers.filter(s => s.state === 'running').length;
  const first = lead ? `${lead.id} leads in term ${number(lead.term)}` : 'no leader';
  if (first !== told) {
    told = first;
    get('summary').replaceChildren(el('b', {}, first), el('span'));
    text(get('spoken'), first);
    document.title = `raftlab: ${first}`;
  }
  text(get('summary').lastChild, ` · ${run} of ${view.servers.length} servers run`);
}

function log(pieces) {
  for (const p of pieces || []) {
    if (p.number <= newest) continue; // the stream was broken, and tells everything anew
    newest = p.number;
    const at = new Date(p.at);
    get('log').prepend(el('li', { class: p.kind },
      el('time', { datetime: at.toISOString() }, at.toTimeString().slice(0, 8)), el('b', {}, p.server), el('span', {}, p.text)));
  }
  while (get('log').children.length > maxLog) get('log').lastChild.remove();
}

function fillHelp() {
  const headings = new Map();
  for (const a of lab.actions) {
    if (!headings.has(a.group)) headings.set(a.group, el('section', {}, el('h2', {}, a.group)));
    headings.get(a.group).append(el('div', {}, el('kbd', {}, a.key), el('b', {}, a.label), el('span', {}, a.means + (a.on === 'line' ? '; then press the other server’s number' : ''))));
  }
  get('keys').append(el('section', {}, el('h2', {}, 'page'),
    el('div', {}, el('kbd', {}, '1–9'), el('b', {}, 'select'), el('span', {}, 'a server')),
    el('div', {}, el('kbd', {}, 'Esc'), el('b', {}, 'let go'), el('span', {}, 'of it')),
    el('div', {}, el('kbd', {}, '?'), el('b', {}, 'keys'), el('span', {}, 'this list'))), ...headings.values());
}

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || get('help').open || !lab.view) return;
  if (event.key === '?') { get('help').showModal(); return; }
  if (event.key === 'Escape') {
    lab.disarm();
    lab.chosen = null;
    redraw();
    return;
  }
  if (/^[1-9]$/.test(event.key)) {
    const server = lab.view.servers[event.key - 1];
    if (!server) { hint(`there is no server ${event.key}`, 2500); return; }
    lab.choose(server.id);
    get('cards').querySelector(`[data-server="${server.id}"]`).scrollIntoView({ block: 'nearest' });
    return;
  }
  const action = lab.actions.find(a => a.key === event.key);
  if (!action) return;
  if (action.name === 'load') {
    const next = (lab.loads.indexOf(lab.view.clients.load) + 1) % lab.loads.length;
    lab.act('load', '', '', lab.loads[next]);
  } else if (action.on === 'all') {
    lab.act(action.name);
  } else if (!lab.chosen) {
    hint(`${action.label} what? Select a server first: press its number.`, 3500);
  } else if (action.on === 'line') {
    lab.arm(action);
  } else {
    lab.act(action.name, lab.chosen);
  }
}

function connect() {
  if (!lab.token) {
    text(get('summary'), 'Open the address that raftlab has printed: it ends with the token, without which the lab obeys nobody.');
    return;
  }
  sessionStorage.setItem('raftlab token', lab.token);
  const stream = new EventSource('/events?token=' + encodeURIComponent(lab.token));
  stream.addEventListener('welcome', e => { hint(''); welcome(JSON.parse(e.data)); });
  stream.addEventListener('view', e => show(JSON.parse(e.data)));
  stream.addEventListener('error', () => {
    if (stream.readyState === EventSource.CLOSED) hint('The lab refuses this page: its token is of another run. Open the address that raftlab has printed.');
    else hint('The lab doesn’t answer. Has it ended?');
  });
}

get('help-button').addEventListener('click', () => get('help').showModal());
addEventListener('keydown', press);
attr(document.documentElement, 'data-ready', '');
connect();
