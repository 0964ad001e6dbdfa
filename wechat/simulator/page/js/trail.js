// The trail of one message: its deliveries with the countdown to the cut-off, and its way through the engine.
import { el, svg } from './dom.js';
import { t, has, duration } from './i18n.js';
import { store, platformNow } from './store.js';

const good = new Set(['answered', 'silent']);

/** Fills a <details> in place, so that it stays open while it changes. */
export function renderTrail(node, x) {
  const summary = el('summary', {}, ...headline(x));
  const steps = el('div', { class: 'steps' }, ...deliverySteps(x), ...stageSteps(x), footer(x));
  node.replaceChildren(summary, steps);
}

function headline(x) {
  const count = x.deliveries.length;
  const dots = count > 1 ? [el('span', { class: 'dots', 'aria-hidden': 'true' }, ...x.deliveries.map(dot))] : [];
  const last = x.deliveries[count - 1];
  if (x.done) return [...dots, el('span', { class: x.banner ? 'bad' : x.answer || x.silent ? 'good' : '' }, ended(x, last))];
  if (!last) return [t('trail.first')];
  const left = Math.max(0, store.cutoffMs - (platformNow() - Date.parse(last.at)));
  if (last.outcome && count < store.deliveries) {
    return [...dots, ring(left, 'ring waiting'), t('trail.between', count + 1, store.deliveries)];
  }
  return [...dots, ring(left, 'ring'), t('trail.delivering', last.number, store.deliveries)];
}

function ended(x, last) {
  if (x.banner) return t('trail.banner');
  if (!last || !(x.answer || x.silent)) return t('trail.ended');
  const total = precise(last.at) - precise(x.deliveries[0].at) + last.elapsed_ms;
  return t(x.answer ? 'trail.answered' : 'trail.silent', duration(total)) + (last.number > 1 ? ` · ${t('trail.attempt', last.number)}` : '');
}

const dot = (d) => el('span', { class: `dot ${d.outcome ? (good.has(d.outcome) ? 'good' : 'bad') : ''}` });

/** A thin ring that drains until the cut-off. Its length is 100 by pathLength, so the style sheet can count in percent. */
function ring(leftMs, name) {
  const left = svg('circle', { class: 'left', cx: 9, cy: 9, r: 7, pathLength: 100 });
  left.style.animationDuration = `${store.cutoffMs}ms`;
  left.style.animationDelay = `${leftMs - store.cutoffMs}ms`;
  return svg('svg', { class: name, viewBox: '0 0 18 18', 'aria-hidden': 'true' },
    svg('circle', { class: 'track', cx: 9, cy: 9, r: 7 }), left);
}

function step(state, what, ms, ...details) {
  return el('div', { class: `step ${state}` },
    el('span', { class: 'what' }, what, ...details.filter(Boolean).map((line) => el('small', {}, line))),
    el('span', { class: 'ms' }, ms === undefined ? '' : duration(ms)));
}

function deliverySteps(x) {
  if (x.deliveries.length === 0) return [];
  return [el('h4', {}, t('trail.deliveries')), ...x.deliveries.map((d) => {
    const state = !d.outcome ? 'open' : good.has(d.outcome) ? '' : 'bad';
    return step(state, `${d.number}/${store.deliveries} ${t(`outcome.${d.outcome || ''}`, d.status)}`, d.elapsed_ms, d.detail);
  })];
}

// Milliseconds beside a station are those since the message's first delivery began.
function stageSteps(x) {
  const heading = el('h4', {}, t('trail.stages'));
  if (x.trace.length === 0) return x.done ? [heading, step('open', t('trail.noStages'))] : [];
  const start = precise(x.deliveries[0]?.at || x.at);
  const stations = merged([...x.trace].sort((a, b) => precise(a.at) - precise(b.at)));
  let told = []; // a fact is told where it first stands, and again when it changes
  return [heading, ...stations.map((e) => {
    const known = [
      e.sequence ? t('fact.sequence', e.sequence) : '',
      e.partition >= 0 ? t('fact.partition', e.partition) : '',
      e.version ? t('fact.version', e.version) : '',
      e.delivery > 1 ? t('fact.delivery', e.delivery) : '',
    ];
    const facts = known.filter((fact, i) => fact && fact !== told[i]).join(' · ');
    told = known.map((fact, i) => fact || told[i]);
    const name = has(`stage.${e.stage}`) ? t(`stage.${e.stage}`) : e.stage;
    const state = e.stage === 'refused' || e.stage === 'dead' ? 'bad' : '';
    return step(state, name, Math.max(0, precise(e.at) - start), facts, detailOf(e));
  })];
}

function detailOf({ stage, detail }) {
  if (stage === 'bot') return (detail || '').split(', ').map(linkWords).join(' → ');
  return has(`detail.${detail}`) ? t(`detail.${detail}`) : detail;
}

/** What came of one link of the bots: its name, a result, and how long it took where that is worth telling. */
function linkWords(words) {
  const [link, result, ...took] = words.split(' ');
  return has(`bot.${result}`) ? [t(`bot.${result}`, link), ...took].join(' ') : words;
}

/** Both sides of one step tell the same station: it is shown once, with what either knows. */
function merged(stations) {
  const shown = [];
  for (const e of stations) {
    const last = shown.at(-1);
    if (last && last.stage === e.stage && last.detail === e.detail) shown[shown.length - 1] = { ...last, ...e, at: last.at };
    else shown.push(e);
  }
  return shown;
}

/** Milliseconds with their fraction; Date.parse drops what comes after the third digit. */
function precise(at) {
  const fraction = /\.\d{3}(\d+)/.exec(at);
  return Date.parse(at) + (fraction ? Number(`0.${fraction[1]}`) : 0);
}

function footer(x) {
  return el('footer', {}, [x.message.msg_id ? `MsgId ${x.message.msg_id}` : '', `CreateTime ${x.message.create_time}`].filter(Boolean).join(' · '));
}
