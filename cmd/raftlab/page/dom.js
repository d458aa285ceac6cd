// What the other modules need to build the page and to change no more of it than what has changed.

const spaceSVG = 'http://www.w3.org/2000/svg';

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else attr(node, name, value);
  }
  node.append(...children);
  return node;
}

export const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
export const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(spaceSVG, tag), attributes, children);

// attr sets an attribute; null and false remove it.
export function attr(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
    return;
  }
  value = value === true ? '' : String(value);
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

export function text(node, value) {
  value = String(value);
  if (node.textContent !== value) node.textContent = value;
}

export const number = n => n.toLocaleString('en-US');

// sync makes a map hold a member for each key, and no other ones.
export function sync(map, keys, make, drop) {
  for (const [key, member] of map) {
    if (!keys.includes(key)) {
      drop(member);
      map.delete(key);
    }
  }
  for (const key of keys) if (!map.has(key)) map.set(key, make(key));
}

// standing says in one word what a server is, for its colour, and in more words for its reader.
export function standing(server, view) {
  const lead = leaderOf(view);
  if (server.state === 'down' || server.state === 'stopped') return { look: server.state, role: server.state };
  if (server.state === 'starting') return { look: 'down', role: 'starting' };
  if (server.state === 'paused') return { look: 'paused', role: 'paused' };
  if (server.cure) return { look: 'ill', role: 'takes no part' };
  if (server.role === 'leader') {
    return server === lead ? { look: 'leader', role: 'leader' } : { look: 'faulty', role: 'leader of the past' };
  }
  if (server.role !== 'follower') return { look: 'candidate', role: server.role };
  if (server.member !== 'voter') return { look: 'learner', role: server.member || 'no member' };
  return { look: server.faults.length ? 'faulty follower' : 'follower', role: 'follower' };
}

// leaderOf returns the server that leads in the highest term.
export function leaderOf(view) {
  let lead = null;
  for (const s of view.servers) {
    if (s.role === 'leader' && s.state === 'running' && (!lead || s.term > lead.term)) lead = s;
  }
  return lead;
}

// faultNames are the words for faults in the page.
export const faultNames = { slow: 'slow disk', stuck: 'hung disk', full: 'full disk', failing: 'failing disk', isolated: 'isolated', paused: 'paused' };
