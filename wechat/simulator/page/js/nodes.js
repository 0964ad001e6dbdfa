// The panel of nodes: the back end's processes, what state they are in, and buttons that take them away and bring them back.
import { el, byId, toast } from './dom.js';
import { t } from './i18n.js';
import * as api from './api.js';

const EVERY = 1000; // ms between two looks

// What can be done in which state. A paused process has to go on before it can end in order; stopping one takes care of that.
const actions = {
  running: ['stop', 'pause', 'kill'],
  paused: ['resume', 'stop', 'kill'],
  stopping: ['kill'],
  stopped: ['start'],
  killed: ['start'],
  exited: ['start'],
};

let nodes = [];
let drawn = ''; // what the list shows, so that it is not built anew under a finger
let timer = null;
let asked = 0; // questions and actions so far; an answer to an old one is dropped

/** Looks at once and then every second, until leaveNodes. */
export function followNodes() {
  leaveNodes();
  timer = setInterval(look, EVERY);
  look();
}

export function leaveNodes() {
  clearInterval(timer);
  timer = null;
}

async function look() {
  if (document.hidden) return;
  const mine = ++asked;
  try {
    const answer = await api.loadNodes();
    if (mine === asked && timer) take(answer);
  } catch { /* the event stream says that the platform is gone */ }
}

async function act(name, action) {
  asked += 1;
  try {
    const answer = await api.actOnNode(name, action);
    asked += 1;
    take(answer);
  } catch (err) {
    toast(t('error.node', err.message));
    look();
  }
}

function take(answer) {
  nodes = answer.nodes;
  renderNodes();
}

/** Draws the list if it changed, in the language in use. */
export function renderNodes() {
  byId('nodes').hidden = nodes.length === 0;
  const now = JSON.stringify([t('nodes.title'), nodes]);
  if (now === drawn) return;
  drawn = now;
  const list = byId('node-list');
  const { node, action } = list.contains(document.activeElement) ? document.activeElement.dataset : {};
  list.replaceChildren(...nodes.map(row));
  if (!node) return;
  const buttons = [...list.querySelectorAll(`button[data-node="${CSS.escape(node)}"]`)];
  (buttons.find((b) => b.dataset.action === action) || buttons[0])?.focus();
}

function row(node) {
  const facts = [t(`node.${node.state}`)];
  if (node.state === 'exited') facts.push(node.exit);
  if (node.state === 'running' && node.partitions !== undefined) facts.push(t('nodes.partitions', node.partitions));
  return el('li', { class: `node ${node.state}`, 'data-node': node.name, 'data-state': node.state, title: node.pid ? t('nodes.pid', node.pid) : node.log },
    el('span', { class: 'lamp', 'aria-hidden': 'true' }),
    el('span', { class: 'name' }, node.name),
    el('span', { class: 'facts' }, facts.join(' · ')),
    el('span', { class: 'deeds' }, ...(actions[node.state] || []).map((action) => el('button', {
      type: 'button', class: 'text-button', 'data-node': node.name, 'data-action': action,
      'aria-label': `${t(`node.do.${action}`)} ${node.name}`, onclick: () => act(node.name, action),
    }, t(`node.do.${action}`)))));
}
