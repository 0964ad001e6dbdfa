// The panel of the API's faults: switches for the usual ones, and a list of all that are injected, wherever that was done.
import { el, byId, toast } from './dom.js';
import { t } from './i18n.js';
import * as api from './api.js';

const EVERY = 2000; // ms between two looks

// The switches. Each has an id of its own, so that a second tap ends what the first began; the storm is over as it begins.
const switches = [
  { name: 'down', fault: { kind: 'down' } },
  { name: 'storm', fault: { kind: 'invalidate' } },
  { name: 'latency', fault: { kind: 'latency', latency: '3s' } },
  { name: 'code', fault: { kind: 'errcode', code: 45009, call: '/cgi-bin/message/custom/send' } },
  { name: 'lost', fault: { kind: 'lost', call: '/cgi-bin/message/custom/send' } },
];

let faults = [];
let timer = null;
let asked = 0; // questions and actions so far; an answer to an old one is dropped

/** Looks at once and then every two seconds, until leaveFaults. */
export function followFaults() {
  leaveFaults();
  timer = setInterval(look, EVERY);
  renderFaults();
  look();
}

export function leaveFaults() {
  clearInterval(timer);
  timer = null;
}

async function look() {
  if (document.hidden) return;
  const mine = ++asked;
  try {
    const answer = await api.loadFaults();
    if (mine === asked && timer) take(answer);
  } catch { /* the event stream says that the platform is gone */ }
}

const idOf = (name) => `phone-${name}`;
const isOn = (name) => faults.some((f) => f.id === idOf(name));

async function act(work) {
  asked += 1;
  try {
    await work();
  } catch (err) {
    toast(t('error.fault', err.message));
  }
  look();
}

function flip({ name, fault }) {
  if (isOn(name)) return act(() => api.clearFault(idOf(name)));
  return act(async () => {
    const { id } = await api.injectFault({ id: idOf(name), ...fault });
    if (!id) toast(t('faults.done'));
  });
}

function take(answer) {
  const before = JSON.stringify(faults);
  faults = answer.faults;
  if (JSON.stringify(faults) !== before) renderFaults();
}

const describe = (f) => [f.kind, f.code, f.latency, f.when === 'after' ? f.when : '', f.rate && `${f.rate * 100} %`, f.account, f.call]
  .filter(Boolean).join(' · ');

/** Draws switches and list, in the language in use. */
export function renderFaults() {
  const held = document.activeElement?.dataset?.fault;
  byId('fault-count').hidden = faults.length === 0;
  byId('fault-count').textContent = faults.length;
  byId('fault-switches').replaceChildren(...switches.map((s) => el('button', {
    type: 'button', class: 'switch', 'data-fault': s.name, 'aria-pressed': String(isOn(s.name)), onclick: () => flip(s),
  }, t(`faults.${s.name}`))));
  byId('fault-list').replaceChildren(...faults.map((f) => el('li', {}, el('span', { title: JSON.stringify(f) }, describe(f)),
    el('button', { type: 'button', class: 'text-button', 'aria-label': t('faults.clear', f.id), onclick: () => act(() => api.clearFault(f.id)) }, '×'))));
  if (held) byId('fault-switches').querySelector(`[data-fault="${CSS.escape(held)}"]`)?.focus();
}
