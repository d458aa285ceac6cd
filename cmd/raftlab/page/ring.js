// The ring: servers on a circle, between each two of them a lane for each direction, and messages on
// the lanes. A click on a line cuts it, and so does drawing across it.
import { attr, faultNames, standing, svg, sync, text } from './dom.js';

const radius = 29;
const travel = 420, travelSlow = 1100; // how long a dot takes, in milliseconds
const maxDots = 180;

// kinds of messages, by the beginning or the end of their names.
const kinds = [
  { name: 'entries', test: k => k === 'AppendRequest', colour: '--accent', size: 3.3 },
  { name: 'votes', test: k => /Vote|TimeoutNow/.test(k), colour: '--violet', size: 4 },
  { name: 'snapshots, repairs', test: k => /Snapshot|Repair/.test(k), colour: '--good', size: 4 },
  { name: 'asked of the leader', test: k => /^(Forward|Read|Call)Request/.test(k), colour: '--warn', size: 2.8 },
  { name: 'heartbeats, answers', test: () => true, colour: '--soft', size: 2.2 },
];

export class Ring {
  constructor(host, legend, lab) {
    this.lab = lab;
    this.host = host;
    this.nodes = new Map();
    this.pairs = new Map();
    this.dots = [];
    this.still = matchMedia('(prefers-reduced-motion: reduce)');
    this.lanes = svg('g');
    this.circles = svg('g');
    this.knife = svg('polyline', { class: 'knife' });
    this.svg = svg('svg', { role: 'group', 'aria-label': 'servers' }, this.lanes, this.circles, this.knife);
    this.canvas = document.createElement('canvas');
    host.append(this.svg, this.canvas);
    for (const kind of kinds) {
      const mark = document.createElement('i');
      mark.style.background = `var(${kind.colour})`;
      const item = document.createElement('span');
      item.append(mark, kind.name);
      legend.append(item);
    }
    const advice = document.createElement('span');
    advice.textContent = 'draw across a line to cut it';
    legend.append(advice);
    this.readColours();
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.readColours());
    new ResizeObserver(() => this.measure()).observe(host);
    this.measure();
    this.cutByDrawing();
    const frame = now => { this.paint(now); requestAnimationFrame(frame); };
    requestAnimationFrame(frame);
  }

  readColours() {
    const probe = document.createElement('i');
    this.host.append(probe);
    this.colours = kinds.map(kind => {
      probe.style.color = `var(${kind.colour})`;
      return getComputedStyle(probe).color;
    });
    probe.remove();
  }

  measure() {
    this.width = this.host.clientWidth;
    this.height = this.host.clientHeight;
    attr(this.svg, 'viewBox', `0 0 ${this.width} ${this.height}`);
    const scale = devicePixelRatio || 1;
    this.canvas.width = this.width * scale;
    this.canvas.height = this.height * scale;
    this.scale = scale;
    if (this.view) this.update(this.view);
  }

  place(i, n) {
    const around = Math.max(Math.min(this.width - 124, this.height - 132) / 2, 60);
    const angle = n === 2 ? Math.PI * (1 - i) : -Math.PI / 2 + 2 * Math.PI * i / n;
    const drop = n === 3 ? around * 0.2 : 0; // a triangle fills only the upper part of its circle
    return n === 1 ? { x: this.width / 2, y: this.height / 2 }
      : { x: this.width / 2 + around * Math.cos(angle), y: this.height / 2 + drop + around * Math.sin(angle) };
  }

  update(view) {
    this.view = view;
    const ids = view.servers.map(s => s.id);
    this.places = new Map(ids.map((id, i) => [id, this.place(i, ids.length)]));
    sync(this.nodes, ids, id => this.makeNode(id), node => node.group.remove());
    const pairs = [];
    ids.forEach((a, i) => ids.slice(i + 1).forEach(b => pairs.push(a + ' ' + b)));
    sync(this.pairs, pairs, key => this.makePair(key), pair => pair.group.remove());
    this.lines = new Map(view.lines.map(l => [l.from + ' ' + l.to, l]));
    view.servers.forEach((s, i) => this.updateNode(s, i));
    for (const pair of this.pairs.values()) this.updatePair(pair);
  }

  makeNode(id) {
    const choose = () => this.lab.choose(id);
    const parts = {
      body: svg('circle', { class: 'body', r: radius }), name: svg('text', { class: 'name' }),
      role: svg('text', { class: 'role label' }), fault: svg('text', { class: 'fault label' }),
    };
    const group = svg('g', {
      class: 'node', role: 'button', tabindex: 0, onclick: choose,
      onkeydown: e => { if (e.key === 'Enter' || e.key === ' ') { e.preventDefault(); choose(); } },
    }, svg('circle', { class: 'halo', r: radius + 5 }), svg('circle', { class: 'pick', r: radius + 5 }), parts.body, parts.name, parts.role, parts.fault);
    text(parts.name, id);
    this.circles.append(group);
    return { group, ...parts };
  }

  updateNode(s, i) {
    const node = this.nodes.get(s.id), at = this.places.get(s.id), { look, role } = standing(s, this.view);
    const chosen = this.lab.chosen === s.id;
    const faults = s.faults.filter(f => f !== 'paused').map(f => faultNames[f]).join(', ');
    attr(node.group, 'transform', `translate(${at.x} ${at.y})`);
    attr(node.group, 'class', `node ${look}${chosen ? ' chosen' : ''}`);
    attr(node.group, 'aria-label', `server ${s.id}, number ${i + 1}: ${role}, term ${s.term}${faults ? ', ' + faults : ''}`);
    attr(node.group, 'aria-pressed', chosen ? 'true' : 'false');
    const above = at.y < this.height / 2 - 20;
    attr(node.role, 'y', above ? -radius - 13 - (faults ? 16 : 0) : radius + 22);
    attr(node.fault, 'y', above ? -radius - 13 : radius + 38);
    text(node.role, this.width < 460 ? role : `${role} · term ${s.term}`);
    text(node.fault, faults);
  }

  makePair(key) {
    const [a, b] = key.split(' ');
    const cut = () => { if (!this.drawn) this.lab.act('cut', a, b); };
    const parts = {
      hit: svg('line', { class: 'hit' }), there: svg('line'), back: svg('line'),
      stopThere: svg('line', { class: 'stop' }), stopBack: svg('line', { class: 'stop' }),
    };
    const group = svg('g', {
      class: 'pair', role: 'button', tabindex: 0, onclick: cut,
      onkeydown: e => { if (e.key === 'Enter' || e.key === ' ') { e.preventDefault(); cut(); } },
    }, ...Object.values(parts));
    this.lanes.append(group);
    return { a, b, group, ...parts };
  }

  // lane returns the ends of the lane from one server to another: a little to the left of the middle.
  lane(from, to) {
    const a = this.places.get(from), b = this.places.get(to);
    const length = Math.hypot(b.x - a.x, b.y - a.y) || 1, dx = (b.x - a.x) / length, dy = (b.y - a.y) / length;
    const aside = 4.5, gap = radius + 7;
    return {
      x1: a.x + dx * gap - dy * aside, y1: a.y + dy * gap + dx * aside,
      x2: b.x - dx * gap - dy * aside, y2: b.y - dy * gap + dx * aside, dx, dy,
    };
  }

  updatePair(pair) {
    const state = [];
    const draw = (from, to, line, stop) => {
      const l = this.lines.get(from + ' ' + to), at = this.lane(from, to);
      for (const name of ['x1', 'y1', 'x2', 'y2']) attr(line, name, at[name].toFixed(1));
      attr(line, 'class', `lane${l.cut ? ' cut' : ''}${l.slow ? ' slow' : ''}`);
      const x = (at.x1 + at.x2) / 2, y = (at.y1 + at.y2) / 2, half = 5.5;
      attr(stop, 'x1', (x - at.dy * half).toFixed(1));
      attr(stop, 'y1', (y + at.dx * half).toFixed(1));
      attr(stop, 'x2', (x + at.dy * half).toFixed(1));
      attr(stop, 'y2', (y - at.dx * half).toFixed(1));
      attr(stop, 'visibility', l.cut ? null : 'hidden');
      state.push(l);
      return at;
    };
    const there = draw(pair.a, pair.b, pair.there, pair.stopThere), back = draw(pair.b, pair.a, pair.back, pair.stopBack);
    attr(pair.hit, 'x1', ((there.x1 + back.x2) / 2).toFixed(1));
    attr(pair.hit, 'y1', ((there.y1 + back.y2) / 2).toFixed(1));
    attr(pair.hit, 'x2', ((there.x2 + back.x1) / 2).toFixed(1));
    attr(pair.hit, 'y2', ((there.y2 + back.y1) / 2).toFixed(1));
    const cut = state.map(l => l.cut);
    const how = cut[0] && cut[1] ? 'cut' : cut[0] ? `cut from ${pair.a} to ${pair.b}` : cut[1] ? `cut from ${pair.b} to ${pair.a}` : 'whole';
    attr(pair.group, 'aria-label', `line between ${pair.a} and ${pair.b}: ${how}${state[0].slow ? ', slow' : ''}; ${how === 'whole' ? 'cut it' : 'make it whole'}`);
    attr(pair.group, 'data-state', how);
  }

  // spawn lets messages travel.
  spawn(view) {
    if (this.still.matches || document.hidden) return;
    const now = performance.now();
    for (const l of view.lines) {
      for (const name of l.seen || []) {
        if (this.dots.length >= maxDots) return;
        this.dots.push({
          from: l.from, to: l.to, cut: l.cut, kind: kinds.findIndex(k => k.test(name)),
          begin: now + Math.random() * 90, time: l.slow ? travelSlow : travel,
        });
      }
    }
  }

  paint(now) {
    const c = this.canvas.getContext('2d');
    c.setTransform(this.scale, 0, 0, this.scale, 0, 0);
    c.clearRect(0, 0, this.width, this.height);
    this.dots = this.dots.filter(d => now < d.begin + d.time && this.places.has(d.from) && this.places.has(d.to));
    for (const d of this.dots) {
      if (now < d.begin) continue;
      const way = (now - d.begin) / d.time, far = d.cut ? Math.min(way, 0.5) : way;
      const at = this.lane(d.from, d.to);
      c.globalAlpha = d.cut ? Math.max(0, 1 - Math.max(0, way - 0.5) * 3) : Math.min(1, Math.min(way, 1 - way) * 8);
      c.fillStyle = this.colours[d.kind];
      c.beginPath();
      c.arc(at.x1 + (at.x2 - at.x1) * far, at.y1 + (at.y2 - at.y1) * far, kinds[d.kind].size, 0, 2 * Math.PI);
      c.fill();
    }
    c.globalAlpha = 1;
  }

  // cutByDrawing cuts the lines that somebody draws across with the pointer.
  cutByDrawing() {
    let path = null;
    const point = e => {
      const box = this.svg.getBoundingClientRect();
      return { x: e.clientX - box.left, y: e.clientY - box.top };
    };
    const drop = () => { path = null; attr(this.knife, 'points', ''); };
    this.svg.addEventListener('pointerdown', e => {
      this.drawn = false;
      if (e.button === 0 && !e.target.closest('.node')) path = [point(e)];
    });
    addEventListener('pointermove', e => {
      if (!path) return;
      const p = point(e);
      if (Math.hypot(p.x - path[0].x, p.y - path[0].y) > 14) this.drawn = true;
      path.push(p);
      if (this.drawn) attr(this.knife, 'points', path.map(q => `${q.x.toFixed(1)},${q.y.toFixed(1)}`).join(' '));
    });
    addEventListener('pointerup', () => {
      if (path && this.drawn) this.cutAcross(path);
      drop();
    });
    addEventListener('pointercancel', drop);
  }

  cutAcross(path) {
    for (const pair of this.pairs.values()) {
      if (pair.group.dataset.state !== 'whole') continue;
      const a = this.places.get(pair.a), b = this.places.get(pair.b);
      if (path.some((p, i) => i > 0 && cross(path[i - 1], p, a, b))) this.lab.act('cut', pair.a, pair.b);
    }
  }
}

// cross says whether two pieces of lines cross.
function cross(p, q, a, b) {
  const side = (u, v, w) => Math.sign((v.x - u.x) * (w.y - u.y) - (v.y - u.y) * (w.x - u.x));
  return side(p, q, a) !== side(p, q, b) && side(a, b, p) !== side(a, b, q);
}
