// The conversation in view. Every exchange has up to two items: what the user did, and what came back, each at its own time.
import { el, byId } from './dom.js';
import { t, clock, nickname } from './i18n.js';
import { avatar, accountAvatar } from './avatar.js';
import { messageBubble, answerBubble, eventText } from './bubble.js';
import { renderTrail } from './trail.js';
import { store, currentUser, userKey } from './store.js';

const QUIET = 5 * 60 * 1000; // a clock line stands where nobody spoke for this long

const timeline = byId('timeline');
const items = new Map(); // element by item id
const open = new Set(); // exchanges whose trail is open

/** Draws everything anew: another user, another language. */
export function renderTimeline() {
  items.clear();
  timeline.replaceChildren();
  timeline.setAttribute('aria-live', 'off'); // history is not news
  for (const x of [...store.exchanges.values()].sort((a, b) => a.id - b.id)) showExchange(x);
  for (const s of [...store.shown.values()].sort((a, b) => a.id - b.id)) showShown(s);
  timeline.scrollTop = timeline.scrollHeight;
  requestAnimationFrame(() => timeline.setAttribute('aria-live', 'polite'));
}

/** Draws one exchange or what changed of it, and keeps the end in view where it was. */
export function showExchange(x) {
  const atEnd = timeline.scrollHeight - timeline.scrollTop - timeline.clientHeight < 120;
  const said = items.get(`${x.id}`) || place(`${x.id}`, Date.parse(x.at), x.id, saidItem(x));
  renderTrail(said.querySelector('.trail'), x);
  if (x.done && (x.answer || x.banner) && !items.has(`${x.id}/reply`)) {
    place(`${x.id}/reply`, Date.parse(x.done_at), x.id + 0.5, replyItem(x));
  }
  placeClocks();
  if (atEnd) timeline.scrollTop = timeline.scrollHeight;
}

/** Draws one message that came by the API. */
export function showShown(s) {
  const atEnd = timeline.scrollHeight - timeline.scrollTop - timeline.clientHeight < 120;
  if (!items.has(`${s.id}`)) place(`${s.id}`, Date.parse(s.at), s.id, shownItem(s));
  placeClocks();
  if (atEnd) timeline.scrollTop = timeline.scrollHeight;
}

let typingTimer;

/** Shows for a while that the account is writing, or stops showing it. */
export function showTyping(on, forMs = 0) {
  clearTimeout(typingTimer);
  byId('typing').hidden = !on;
  byId('typing').textContent = on ? t('typing') : '';
  if (on) typingTimer = setTimeout(() => showTyping(false), forMs);
}

export const scrollToEnd = () => { timeline.scrollTop = timeline.scrollHeight; };

// A picture that has loaded is taller than its place was: the end stays in view.
timeline.addEventListener('load', (e) => {
  const distance = timeline.scrollHeight - timeline.scrollTop - timeline.clientHeight;
  if (distance < e.target.clientHeight + 120) scrollToEnd();
}, true);

/** Items stand by time, then by order of exchanges. */
function place(id, at, rank, node) {
  node.dataset.at = at;
  node.dataset.rank = rank;
  node.dataset.item = id;
  items.set(id, node);
  let before = null;
  for (let other = timeline.lastElementChild; other; other = other.previousElementSibling) {
    if (!other.dataset.item) continue;
    const sooner = Number(other.dataset.at) < at || (Number(other.dataset.at) === at && Number(other.dataset.rank) <= rank);
    if (sooner) break;
    before = other;
  }
  timeline.insertBefore(node, before);
  return node;
}

function placeClocks() {
  let previous = -Infinity;
  for (const node of [...timeline.children]) {
    if (!node.dataset.item) continue;
    const at = Number(node.dataset.at);
    const line = node.previousElementSibling?.classList.contains('clock') ? node.previousElementSibling : null;
    if (at - previous > QUIET) {
      if (!line) timeline.insertBefore(el('div', { class: 'clock' }, clock(at)), node);
    } else if (line) line.remove();
    previous = at;
  }
}

function trailOf(x) {
  const node = el('details', { class: 'trail', 'aria-live': 'off' });
  node.open = open.has(`${userKey(x)}/${x.id}`);
  node.addEventListener('toggle', () => {
    if (node.open) open.add(`${userKey(x)}/${x.id}`);
    else open.delete(`${userKey(x)}/${x.id}`);
    if (node.open) node.scrollIntoView({ block: 'nearest' });
  });
  return node;
}

function saidItem(x) {
  if (x.message.type === 'event') {
    return el('div', { class: 'system' }, el('span', { class: 'said' }, eventText(x.message)), el('div', {}, trailOf(x)));
  }
  const user = currentUser();
  return el('div', { class: 'row own' }, avatar(userKey(x), nickname(user.number)),
    el('div', { class: 'content' }, messageBubble(x.message), trailOf(x)));
}

function shownItem(s) {
  return el('div', { class: `row answer shown ${s.kind}` }, accountAvatar(t('account.name')),
    el('div', { class: 'content' }, answerBubble(s.answer) || el('div', { class: 'bubble tailed' }, t('kind.other', s.answer.type)),
      el('small', { class: 'way' }, t(`shown.${s.kind}`))));
}

function replyItem(x) {
  if (x.banner) return el('div', { class: 'system banner' }, el('span', { class: 'said' }, t('banner')));
  const bubble = answerBubble(x.answer);
  if (!bubble) return el('div', { class: 'system' }, el('span', { class: 'said' }, t('transfer')));
  return el('div', { class: 'row answer' }, accountAvatar(t('account.name')), el('div', { class: 'content' }, bubble));
}
