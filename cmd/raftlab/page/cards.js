// The cards: what each server knows and says of itself, and what can be done to it.
import { attr, el, faultNames, number, standing, svg, sync, text } from './dom.js';

const groups = ['process', 'disk', 'network', 'members'];
const always = ['kill', 'restart', 'pause', 'isolate', 'replace']; // shown before a server is chosen
const fewSentences = 2, manySentences = 6; // how many are shown before and after a server is chosen
const cursors = ['applied', 'commit', 'stable', 'last', 'snapshot'];

export class Cards {
  constructor(host, lab) {
    this.host = host;
    this.lab = lab;
    this.cards = new Map();
    this.window = 60; // how many entries a bar shows
  }

  update(view) {
    this.view = view;
    sync(this.cards, view.servers.map(s => s.id), id => this.make(id), card => card.root.remove());
    this.scale(view);
    view.servers.forEach((s, i) => this.show(s, i));
  }

  // scale chooses which entries the bars show: the newest, and so many that the slowest server that
  // runs is among them. It grows at once and shrinks slowly.
  scale(view) {
    this.newest = Math.max(60, ...view.servers.map(s => s.last));
    const slowest = view.servers.filter(s => s.state === 'running' && s.last > 0).map(s => Math.min(s.applied, s.stable));
    const need = Math.min(Math.max((this.newest - Math.min(this.newest, ...slowest)) * 1.3, 60), 20000);
    this.window = need > this.window ? need : Math.max(need, this.window * 0.94);
  }

  make(id) {
    const parts = { who: el('button', { class: 'who', type: 'button', onclick: () => this.lab.choose(id) }) };
    for (const name of ['role', 'term', 'disk']) parts[name] = el('span', { class: name });
    const rects = {};
    const bar = svg('svg', { class: 'bar', viewBox: '0 0 1000 14', preserveAspectRatio: 'none', role: 'img' });
    for (const name of ['last', 'stable', 'applied', 'snapshot', 'commit']) bar.append(rects[name] = svg('rect', { class: name, height: 14 }));
    const figures = {}, row = el('div', { class: 'cursors' });
    for (const name of cursors) row.append(el('span', {}, name + ' ', figures[name] = el('b')));
    row.append(parts.behind = el('span', { class: 'behind' }));
    const says = el('ul', { class: 'says', 'aria-label': `what ${id} says` });
    const buttons = new Map(), rows = el('div', { class: 'groups' });
    for (const group of groups) rows.append(this.makeGroup(id, group, buttons));
    const root = el('article', { class: 'card', 'aria-label': `server ${id}`, 'data-server': id },
      el('div', { class: 'top' }, parts.who, parts.role, parts.term, parts.disk), bar, says, el('div', { class: 'below' }, row, rows));
    this.host.append(root);
    return { root, ...parts, bar, rects, figures, says, buttons };
  }

  makeGroup(id, group, buttons) {
    const row = el('div', { class: 'group', role: 'group', 'aria-label': `${group} of ${id}` }, el('span', {}, group));
    let some = false;
    for (const a of this.lab.actions.filter(a => a.group === group)) {
      const label = el('span', {}, a.on === 'line' ? a.label + ' …' : a.label);
      const button = el('button', {
        type: 'button', title: a.means, // one for a line is seen only on the card that is chosen
        'data-action': a.name, class: always.includes(a.name) ? null : 'rest',
        onclick: () => { a.on === 'line' ? this.lab.arm(a) : this.lab.act(a.name, id); },
      }, label, el('kbd', {}, a.key));
      some ||= always.includes(a.name);
      buttons.set(a.name, { button, label, action: a });
      row.append(button);
    }
    if (!some) row.classList.add('rest');
    return row;
  }

  show(s, i) {
    const card = this.cards.get(s.id), { look, role } = standing(s, this.view);
    const chosen = this.lab.chosen === s.id;
    attr(card.root, 'class', `card ${look}${chosen ? ' chosen' : ''}`);
    attr(card.root, 'data-role', s.role);
    attr(card.who, 'aria-expanded', chosen ? 'true' : 'false');
    attr(card.who, 'aria-label', `server ${s.id}, number ${i + 1}`);
    if (card.number !== i) {
      card.number = i;
      card.who.replaceChildren(s.id, el('kbd', {}, i + 1));
    }
    text(card.role, role);
    text(card.term, `term ${s.term}`);
    this.showDisk(card, s);
    this.showBar(card, s);
    this.showSays(card, s);
    this.showButtons(card, s);
  }

  showDisk(card, s) {
    const room = s.room < 0 ? '' : `room for ${number(Math.round(s.room / 1024))} KiB`;
    const key = s.faults.join() + room;
    if (card.diskKey === key) return;
    card.diskKey = key;
    card.disk.replaceChildren(room, ...s.faults.map(f => el('span', { class: 'chip' }, faultNames[f])));
  }

  showBar(card, s) {
    const first = this.newest - this.window;
    const x = index => Math.max(0, Math.min(1000, (index - first) / this.window * 1000));
    for (const name of ['last', 'stable', 'applied', 'snapshot']) attr(card.rects[name], 'width', x(s[name]).toFixed(1));
    attr(card.rects.commit, 'x', Math.max(0, x(s.commit) - 3).toFixed(1));
    attr(card.rects.commit, 'width', s.commit > first ? 3 : 0);
    for (const name of cursors) text(card.figures[name], number(s[name]));
    text(card.behind, s.last < first ? `${number(this.newest - s.last)} behind` : '');
    attr(card.bar, 'aria-label', cursors.map(name => `${name} ${s[name]}`).join(', '));
  }

  showSays(card, s) {
    const most = this.lab.chosen === s.id ? manySentences : fewSentences, key = most + JSON.stringify(s.says);
    if (card.saysKey === key) return;
    card.saysKey = key;
    const items = s.says.slice(0, most).map(x => el('li', { class: x.bad ? 'bad' : null, title: x.text }, x.text));
    if (s.says.length > most) items[most - 1].prepend(el('span', { class: 'more' }, `${s.says.length - most} more · `));
    card.says.replaceChildren(...items);
  }

  showButtons(card, s) {
    const runs = s.state === 'running' || s.state === 'paused';
    for (const [name, { button, label, action }] of card.buttons) {
      const on = action.fault && s.faults.includes(action.fault);
      if (action.fault) attr(button, 'aria-pressed', on ? 'true' : 'false');
      if (name === 'restart') text(label, runs ? 'restart' : 'start');
      if (name === 'pause') text(label, on ? 'go on' : 'pause');
      button.classList.toggle('cure', s.cure === name);
      if (name === 'replace') button.classList.toggle('rest', s.cure !== name);
      const off = (name === 'kill' && !runs && s.state !== 'starting') || (name === 'stop' && s.state !== 'running') || (name === 'pause' && !runs);
      if (button.disabled !== off) button.disabled = off;
    }
  }
}
