// The strip: what clients get, and what the judge says of it.
import { attr, el, number, svg, text } from './dom.js';

export class Strip {
  constructor(lab) {
    this.lab = lab;
    this.spans = [];
    this.span = 0; // the number of the newest one
    const get = id => document.getElementById(id);
    this.verdict = get('verdict');
    this.checked = get('checked');
    this.loads = new Map();
    for (const name of lab.loads) {
      const button = el('button', { type: 'button', onclick: () => lab.act('load', '', '', name) }, name);
      this.loads.set(name, button);
      get('load').append(button);
    }
    get('load').append(el('kbd', { title: 'the next load' }, lab.actions.find(a => a.name === 'load').key));
    this.show = el('a', { class: 'button', href: '/violation?token=' + encodeURIComponent(lab.token), target: '_blank', rel: 'noopener', hidden: true }, 'show the history');
    this.buttons = new Map();
    get('judge-buttons').append(this.show);
    for (const a of lab.actions.filter(a => a.group === 'clients' && a.name !== 'load')) {
      const button = el('button', { type: 'button', title: a.means, onclick: () => lab.act(a.name) }, a.label, el('kbd', {}, a.key));
      this.buttons.set(a.name, button);
      get('judge-buttons').append(button);
    }
    this.figures = {};
    for (const name of ['a second', 'p50', 'p99', 'unknown, in all']) get('figures').append(el('span', {}, this.figures[name] = el('b', {}, '–'), name));
    this.throughput = this.chart(get('throughput'), ['returned', 'refused', 'unknown']);
    this.latency = this.chart(get('latency'), ['p99', 'p50']);
  }

  chart(host, names) {
    const paths = {}, box = svg('svg', { class: 'chart', viewBox: '0 0 600 84', preserveAspectRatio: 'none', role: 'img' });
    for (const name of names) box.append(paths[name] = svg('path', { class: name }));
    const top = el('span');
    host.append(el('div', { class: 'chart-box' }, box, top));
    return { box, paths, top };
  }

  update(view) {
    const v = view.verdict, c = view.clients;
    const bad = v.violations > 0;
    attr(this.verdict, 'class', bad ? 'bad' : v.checked ? 'good' : null);
    text(this.verdict, bad ? 'not linearizable' : v.checked ? 'linearizable so far' : 'nothing checked yet');
    text(this.checked, `${number(v.checked)} operations checked, on ${number(v.registers)} registers` +
      (bad ? `; ${v.violations} of these have no order` : '') + (v.undecided ? `; ${v.undecided} undecided` : ''));
    attr(this.checked, 'title', v.first || null);
    this.show.hidden = !bad;
    for (const [name, button] of this.loads) attr(button, 'aria-pressed', name === c.load ? 'true' : 'false');
    attr(this.buttons.get('stale'), 'aria-pressed', c.stale ? 'true' : 'false');
    text(this.figures['unknown, in all'], number(c.total.unknown));
    const fresh = Math.min((view.spans || []).length, view.span - this.span); // others were told before
    if (fresh > 0) {
      this.spans = this.spans.concat(view.spans.slice(-fresh)).slice(-this.lab.maxSpans);
      this.span = view.span;
      this.draw();
    }
  }

  // seconds gathers spans by the second; the last one is the newest.
  seconds() {
    const each = Math.round(1000 / this.lab.spanMillis), list = [];
    for (let end = this.spans.length; end > 0; end -= each) {
      const part = this.spans.slice(Math.max(0, end - each), end), sum = name => part.reduce((n, s) => n + s[name], 0);
      const scale = each / part.length;
      list.unshift({
        returned: sum('returned') * scale, refused: sum('refused') * scale, unknown: sum('unknown') * scale,
        p50: Math.max(...part.map(s => s.p50)), p99: Math.max(...part.map(s => s.p99)),
      });
    }
    return list;
  }

  draw() {
    const list = this.seconds(), now = list[list.length - 1], width = 10, left = 600 - list.length * width;
    const most = nice(Math.max(10, ...list.map(s => s.returned + s.refused + s.unknown)));
    const d = { returned: '', refused: '', unknown: '' };
    list.forEach((s, i) => {
      let y = 84;
      for (const name of ['returned', 'refused', 'unknown']) {
        const high = s[name] / most * 80;
        if (high > 0) d[name] += `M${left + i * width} ${y.toFixed(1)}v${(-high).toFixed(1)}h${width - 1.5}v${high.toFixed(1)}z`;
        y -= high;
      }
    });
    for (const name in d) attr(this.throughput.paths[name], 'd', d[name]);
    text(this.throughput.top, number(most) + ' a second');
    attr(this.throughput.box, 'aria-label', `${Math.round(now.returned)} operations answered in the last second, ${Math.round(now.refused)} not applied, ${Math.round(now.unknown)} unknown`);
    const y = ms => 80 - Math.max(0, Math.min(1, Math.log10(ms / 0.5) / Math.log10(4000))) * 76; // from 0.5 ms to 2 s
    for (const name of ['p50', 'p99']) {
      let path = '', pen = 'M';
      list.forEach((s, i) => {
        if (!s[name]) { pen = 'M'; return; }
        path += `${pen}${left + (i + 0.5) * width} ${y(s[name]).toFixed(1)}`;
        pen = 'L';
      });
      attr(this.latency.paths[name], 'd', path);
    }
    text(this.latency.top, '2 s, logarithmic');
    attr(this.latency.box, 'aria-label', `half of the operations of the last second took ${time(now.p50)} at most, 99 % took ${time(now.p99)}`);
    text(this.figures['a second'], number(Math.round(now.returned)));
    text(this.figures.p50, time(now.p50));
    text(this.figures.p99, time(now.p99));
  }
}

const time = ms => !ms ? '–' : ms < 9.95 ? ms.toFixed(1) + ' ms' : ms < 1000 ? Math.round(ms) + ' ms' : (ms / 1000).toFixed(1) + ' s';

// nice rounds a number up to 1, 2 or 5 times a power of ten.
function nice(n) {
  const unit = 10 ** Math.floor(Math.log10(n));
  return [1, 2, 5, 10].find(f => f * unit >= n) * unit;
}
