// The panel of the model that the engine asks: knobs that make it worse, what it counts, and the breakers in front of it.
import { el, byId, toast } from './dom.js';
import { t, duration, locale } from './i18n.js';
import { platformNow } from './store.js';
import * as api from './api.js';

const EVERY = 1000; // ms between two looks
const SETTLE = 150; // ms that a slider rests before its value is sent

const sliders = [
  { name: 'delay_ms', max: 30000, step: 500, show: duration },
  { name: 'per_token_ms', max: 200, step: 5, show: duration },
  { name: 'failure_rate', max: 1, step: 0.05, show: (v) => `${Math.round(v * 100)} %` },
  { name: 'break_rate', max: 1, step: 0.05, show: (v) => `${Math.round(v * 100)} %` },
];
const switches = ['hang', 'down', 'reasoning'];
const severity = ['closed', 'half_open', 'open'];

let model = {}; // the platform's last answer
let turned = {}; // knobs that were turned here and not yet sent
let settling = null;
let timer = null;
let asked = 0; // questions and actions so far; an answer to an old one is dropped
let drawn = ''; // the language that the controls are drawn in
let announced = null; // the breakers' states that a screen reader has heard

/** Looks at once and then every second, until leaveModel. */
export function followModel() {
  leaveModel();
  timer = setInterval(look, EVERY);
  look();
}

export function leaveModel() {
  clearInterval(timer);
  timer = null;
}

async function look() {
  if (document.hidden) return;
  const mine = ++asked;
  try {
    const answer = await api.loadModel();
    if (mine === asked && timer) take(answer);
  } catch { /* the event stream says that the platform is gone */ }
}

/** Turns knobs: shown at once, sent when the hand rests. */
function turn(knobs, rest) {
  Object.assign(turned, knobs);
  Object.assign(model.knobs, knobs);
  asked += 1;
  drawKnobs();
  clearTimeout(settling);
  settling = setTimeout(send, rest);
}

async function send() {
  const knobs = turned;
  turned = {};
  asked += 1;
  try {
    const answer = await api.turnKnobs(knobs);
    asked += 1;
    take({ ...model, ...answer });
  } catch (err) {
    toast(t('error.model', err.message));
    look();
  }
}

function take(answer) {
  model = answer;
  if (model.knobs) Object.assign(model.knobs, turned); // what a hand is on stays
  renderModel();
}

/** Draws the panel, in the language in use. */
export function renderModel() {
  byId('model').hidden = !model.knobs;
  if (!model.knobs) return;
  if (drawn !== locale()) drawControls();
  drawKnobs();
  drawStats();
  drawUpstreams();
  drawTransitions();
  announce();
}

function drawControls() {
  drawn = locale();
  byId('model-knobs').replaceChildren(...sliders.map(({ name, max, step }) => el('label', { class: 'knob' },
    el('span', {}, t(`knob.${name}`)),
    el('input', { type: 'range', 'data-knob': name, min: 0, max, step, oninput: (e) => turn({ [name]: Number(e.target.value) }, SETTLE) }),
    el('output', {}))));
  byId('model-switches').replaceChildren(...switches.map((name) => el('button', {
    type: 'button', class: 'switch', 'data-knob': name, title: t(`knob.${name}.hint`), onclick: () => turn({ [name]: !model.knobs[name] }, 0),
  }, t(`knob.${name}`))));
}

function drawKnobs() {
  for (const { name, max, show } of sliders) {
    const input = byId('model-knobs').querySelector(`[data-knob="${name}"]`);
    const value = model.knobs[name];
    const word = value === 0 ? '0' : show(value);
    if (Number(input.value) !== value) input.value = value; // beyond the slider's end it stands at the end
    input.style.setProperty('--filled', `${Math.min(100, (value / max) * 100)}%`);
    input.setAttribute('aria-valuetext', word);
    write(input.nextElementSibling, word);
  }
  for (const name of switches) {
    byId('model-switches').querySelector(`[data-knob="${name}"]`).setAttribute('aria-pressed', String(model.knobs[name]));
  }
}

function drawStats() {
  const { requests, in_flight, answered, failed, broken, gone } = model.stats;
  const counts = { requests, in_flight, answered, failed: failed + broken + gone };
  byId('model-stats').replaceChildren(...Object.entries(counts).map(([name, count]) => el('div', {
    class: name === 'failed' && count > 0 ? 'bad' : '', 'data-stat': name,
    title: name === 'failed' ? t('stats.failed.hint', failed, broken, gone) : null,
  }, el('dt', {}, t(`stats.${name}`)), el('dd', {}, String(count)))));
}

const breakers = () => (model.upstreams || []).flatMap((u) => u.endpoints.map((e) => ({ ...e, upstream: u })));
const worst = (all) => severity[Math.max(0, ...all.map((b) => severity.indexOf(b.state)))];

function drawUpstreams() {
  const all = breakers();
  const word = byId('model-worst');
  write(word, all.length ? t(`breaker.${worst(all)}`) : '');
  word.className = `breaker ${all.length ? worst(all) : ''}`;
  byId('upstreams').replaceChildren(...(all.length ? all.map(row) : [el('li', { class: 'none' }, t('upstreams.none'))]));
}

function row(b) {
  const { node, name, in_flight, max_in_flight } = b.upstream;
  const facts = [b.name, b.failures && b.state === 'closed' ? t('upstreams.failures', b.failures) : '', retry(b), t('upstreams.places', in_flight, max_in_flight)];
  return el('li', { class: 'upstream', 'data-upstream': name, 'data-node': node, 'data-state': b.state, title: b.last_error },
    el('span', { class: 'name' }, [node, name].filter(Boolean).join(' · ')),
    el('span', { class: `breaker ${b.state}` }, t(`breaker.${b.state}`), el('small', {}, t('upstreams.since', moment(b.since)))),
    el('small', { class: 'facts' }, facts.filter(Boolean).join(' · ')),
    b.state !== 'closed' && b.last_error ? el('small', { class: 'error' }, b.last_error) : null);
}

function retry(b) {
  if (b.state !== 'open' || !b.retry_at) return '';
  const left = Math.ceil((Date.parse(b.retry_at) - platformNow()) / 1000);
  return left > 0 ? t('upstreams.retry', left) : t('upstreams.soon');
}

function drawTransitions() {
  const several = breakers().length > 1;
  byId('transitions').hidden = !model.transitions?.length;
  byId('transitions').replaceChildren(...(model.transitions || []).slice(0, 8).map((c) => el('li', { class: c.to },
    el('time', { datetime: c.at }, moment(c.at)), el('span', { class: `breaker ${c.to}` }, t(`breaker.${c.to}`)),
    el('span', { class: 'name' }, several ? [c.node, c.upstream, c.endpoint].filter(Boolean).join(' · ') : c.upstream))));
}

/** Tells a screen reader what has changed since it last heard of the breakers. */
function announce() {
  const now = new Map(breakers().map((b) => [[b.upstream.node, b.upstream.name, b.name].filter(Boolean).join(' '), b.state]));
  const news = [...now].filter(([name, state]) => announced && (announced.get(name) || 'closed') !== state);
  if (news.length) write(byId('model-news'), news.map(([name, state]) => `${name}: ${t(`breaker.${state}`)}`).join('; '));
  announced = now;
}

const moment = (at) => new Date(at).toLocaleTimeString(locale(), { hour12: false });

function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
