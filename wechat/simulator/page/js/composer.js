// Everything a user can do: write, tap the menu, send other things. say(message) pushes it.
import { el, byId, icon, toast } from './dom.js';
import { t } from './i18n.js';
import { keepPicture } from './api.js';
import { paintPicture, shrinkPicture } from './pictures.js';

const menu = [
  { label: 'menu.help', key: 'HELP' },
  { label: 'menu.price', key: 'PRICE' },
  { label: 'menu.more', items: [
    { label: 'menu.service', key: 'SERVICE' },
    { label: 'menu.weather', key: 'WEATHER' },
    { label: 'menu.site', url: 'https://www.example.com/' },
  ] },
];

const text = byId('text');

export function startComposer(say) {
  const send = () => {
    const content = text.value.trim();
    if (!content) return;
    text.value = '';
    fit();
    say({ type: 'text', content });
  };
  byId('writer').addEventListener('submit', (e) => { e.preventDefault(); send(); });
  text.addEventListener('input', fit);
  text.addEventListener('keydown', (e) => {
    if (e.key !== 'Enter' || e.shiftKey || e.isComposing || e.keyCode === 229) return; // 229: an input method at work
    e.preventDefault();
    send();
  });
  byId('to-menu').addEventListener('click', () => showMenu(true));
  byId('to-text').addEventListener('click', () => { showMenu(false); text.focus(); });
  byId('more').addEventListener('click', () => showPanel(byId('panel').hidden));
  byId('dialog-cancel').addEventListener('click', () => byId('dialog').close());
  byId('picture-file').addEventListener('change', async (e) => {
    const [file] = e.target.files;
    e.target.value = '';
    if (file) await sendPicture(say, () => shrinkPicture(file));
  });
  document.addEventListener('click', (e) => { if (!e.target.closest('.menu-buttons')) closeSubmenus(); });
  document.addEventListener('keydown', (e) => { if (e.key === 'Escape') { closeSubmenus(); showPanel(false); } });
  renderComposer(say);
}

/** Draws what has words in it. */
export function renderComposer(say) {
  byId('menu-buttons').replaceChildren(...menu.map((entry) => menuButton(entry, say)));
  byId('panel').replaceChildren(...tiles(say).map(([label, name, act]) => el('button', { type: 'button', onclick: () => { showPanel(false); act(); } },
    el('span', { class: 'tile' }, icon(name)), t(label))));
}

function fit() {
  const empty = text.value.trim() === '';
  byId('send').hidden = empty;
  byId('more').hidden = !empty;
}

function showMenu(shown) {
  byId('menu').hidden = !shown;
  byId('writer').hidden = shown;
  showPanel(false);
}

function showPanel(shown) {
  byId('panel').hidden = !shown;
  byId('more').setAttribute('aria-expanded', String(shown));
}

function closeSubmenus() {
  for (const node of document.querySelectorAll('.submenu')) node.hidden = true;
  for (const node of document.querySelectorAll('.menu-buttons [aria-expanded]')) node.setAttribute('aria-expanded', 'false');
}

const tap = (entry) => (entry.url
  ? { type: 'event', event: 'VIEW', event_key: entry.url }
  : { type: 'event', event: 'CLICK', event_key: entry.key });

function menuButton(entry, say) {
  if (!entry.items) return el('div', {}, el('button', { type: 'button', onclick: () => say(tap(entry)) }, t(entry.label)));
  const submenu = el('div', { class: 'submenu', hidden: true },
    ...entry.items.map((item) => el('button', { type: 'button', onclick: () => { closeSubmenus(); say(tap(item)); } }, t(item.label))));
  const button = el('button', { type: 'button', 'aria-haspopup': 'true', 'aria-expanded': 'false', onclick: () => {
    const shown = submenu.hidden;
    closeSubmenus();
    submenu.hidden = !shown;
    button.setAttribute('aria-expanded', String(shown));
  } }, t(entry.label));
  return el('div', {}, submenu, button);
}

const tiles = (say) => [
  ['panel.sample', 'image', () => sendPicture(say, paintPicture)],
  ['panel.upload', 'upload', () => byId('picture-file').click()],
  ['panel.voice', 'voice', () => say({ type: 'voice' })],
  ['panel.video', 'video', () => say({ type: 'video' })],
  ['panel.location', 'location', () => form('panel.location', [
    ['label', 'field.label', t('sample.address'), 'text'], ['latitude', 'field.latitude', '39.9055', 'number'], ['longitude', 'field.longitude', '116.3976', 'number'],
  ], (f) => say({ type: 'location', label: f.label, latitude: Number(f.latitude), longitude: Number(f.longitude) }))],
  ['panel.link', 'link', () => form('panel.link', [
    ['title', 'field.title', t('sample.title'), 'text'], ['desc', 'field.desc', t('sample.desc'), 'text'], ['url', 'field.url', 'https://www.example.com/article', 'url'],
  ], (f) => say({ type: 'link', ...f }))],
  ['panel.scan', 'scan', () => askScene((scene) => say({ type: 'event', event: 'SCAN', event_key: scene }))],
  ['panel.report', 'pin', () => say({ type: 'event', event: 'LOCATION', latitude: 39.9055, longitude: 116.3976, precision: 30 })],
];

export const askScene = (done) => form('panel.scan', [['scene', 'field.scene', '123', 'text']], (f) => done(f.scene.trim() || '123'));

async function sendPicture(say, make) {
  let kept;
  try {
    kept = await keepPicture(await make());
  } catch {
    toast(t('error.picture'));
    return;
  }
  say({ type: 'image', ...kept });
}

/** Asks for a few values. fields: [name, label, preset, input type]. */
function form(title, fields, done) {
  const dialog = byId('dialog');
  const target = byId('dialog-form');
  byId('dialog-title').textContent = t(title);
  byId('dialog-fields').replaceChildren(...fields.map(([name, label, value, type]) => el('label', {}, t(label),
    el('input', { name, type, value, step: type === 'number' ? 'any' : null, required: type !== 'text', maxlength: 512 }))));
  target.onsubmit = () => done(Object.fromEntries(new FormData(target)));
  dialog.showModal();
}
