// What a message or an answer looks like.
import { el, svg, icon } from './dom.js';
import { t } from './i18n.js';

const SAFE = /^https?:\/\//i;

function link(href, text) {
  return SAFE.test(href) ? el('a', { href, target: '_blank', rel: 'noopener noreferrer' }, text) : text;
}

/** Text as WeChat shows it: line breaks, <a href="…">…</a> and bare addresses. Everything else stays text. */
export function richText(text) {
  const nodes = [];
  const pattern = /<a\s[^>]*?href\s*=\s*["']([^"']*)["'][^>]*>([\s\S]*?)<\/a>|https?:\/\/[\w\-.~:/?#[\]@!$&'()*+,;=%]+/gi;
  let end = 0;
  for (const match of text.matchAll(pattern)) {
    nodes.push(text.slice(end, match.index));
    const bare = match[1] === undefined;
    nodes.push(bare ? link(match[0], match[0]) : link(match[1], match[2]));
    end = match.index + match[0].length;
  }
  nodes.push(text.slice(end));
  return nodes;
}

function bubble(kind, ...children) {
  return el('div', { class: `bubble ${kind}` }, ...children);
}

function placeholder(name, ...lines) {
  return el('div', { class: 'placeholder' }, icon(name), ...lines.map((line) => el('span', {}, line)));
}

/** A picture; where it cannot be loaded, a placeholder. */
function picture(src, alt, className = 'picture') {
  const img = el('img', { class: className, src, alt, loading: 'lazy', referrerpolicy: 'no-referrer' });
  img.addEventListener('error', () => img.replaceWith(placeholder('image', t('picture.gone'))), { once: true });
  return img;
}

// A made-up address that leads nowhere: do not even ask for it.
const isMadeUp = (address) => address.startsWith('http://mmbiz.qpic.cn/');

function voice(mediaId) {
  let seconds = 0;
  for (const c of mediaId) seconds = (seconds * 31 + c.codePointAt(0)) % 19;
  return bubble('tailed', el('span', { class: 'voice', title: mediaId }, icon('voice'), `${seconds + 2}″`));
}

function card(href, ...children) {
  return SAFE.test(href || '')
    ? el('a', { class: 'card', href, target: '_blank', rel: 'noopener noreferrer' }, ...children)
    : el('div', { class: 'card' }, ...children);
}

function linkCard(title, description, url, thumb) {
  return bubble('plain', card(url, el('div', { class: 'body' },
    el('span', { class: 'words' }, el('b', {}, title || url), el('small', {}, description)),
    el('span', { class: 'thumb' }, icon(thumb)))));
}

/** Streets that nobody knows, but always the same ones for one place. */
function map(latitude, longitude) {
  const shift = Math.abs(Math.round(latitude * 131 + longitude * 37)) % 60;
  const street = (d, width) => svg('path', { d, stroke: 'currentColor', 'stroke-width': width, fill: 'none', opacity: 0.16 });
  return svg('svg', { class: 'map', viewBox: '0 0 264 92', preserveAspectRatio: 'xMidYMid slice', 'aria-hidden': 'true' },
    street(`M-10 ${20 + shift / 3}L280 ${60 - shift / 4}`, 9), street(`M${40 + shift} -10L${70 + shift} 110`, 6),
    street(`M${160 + shift} -10L${130 + shift} 110`, 4), street(`M-10 ${70 - shift / 4}L280 ${84 - shift / 5}`, 4),
    svg('circle', { cx: 132, cy: 46, r: 13, fill: '#07c160', opacity: 0.22 }),
    svg('circle', { cx: 132, cy: 46, r: 6, fill: '#07c160', stroke: '#fff', 'stroke-width': 2 }));
}

const coordinates = (m) => `${(m.latitude || 0).toFixed(4)}, ${(m.longitude || 0).toFixed(4)}`;

/** The bubble of what the user sent. */
export function messageBubble(m) {
  switch (m.type) {
    case 'image':
      return bubble('plain', isMadeUp(m.pic_url) ? placeholder('image', t('picture.id', m.media_id)) : picture(m.pic_url, t('kind.image')));
    case 'voice':
      return voice(m.media_id);
    case 'video':
    case 'shortvideo':
      return bubble('plain', placeholder('play', t('picture.id', m.media_id)));
    case 'location':
      return bubble('plain', el('div', { class: 'card' },
        el('div', { class: 'body' }, el('span', { class: 'words' }, el('b', {}, m.label || t('kind.location')), el('small', {}, coordinates(m)))),
        map(m.latitude || 0, m.longitude || 0)));
    case 'link':
      return linkCard(m.title, m.desc, m.url, 'link');
    default:
      return bubble('tailed', m.content);
  }
}

/** The bubble of an answer; null where WeChat shows none. */
export function answerBubble(a) {
  switch (a.type) {
    case 'text':
      return bubble('tailed', ...richText(a.content));
    case 'image':
      return bubble('plain', placeholder('image', t('picture.id', a.media_id)));
    case 'voice':
      return voice(a.media_id);
    case 'video':
      return linkCard(a.title || t('kind.video'), a.description || t('picture.id', a.media_id), '', 'play');
    case 'music':
      return linkCard(a.title || t('kind.music'), a.description, a.music_url || a.hq_music_url, 'music');
    case 'news':
      return bubble('plain', ...a.articles.map((article) => card(article.url,
        SAFE.test(article.pic_url) ? picture(article.pic_url, '', 'cover') : null,
        el('div', { class: 'body' }, el('span', { class: 'words' }, el('b', {}, article.title), el('small', {}, article.description))))));
    case 'msgmenu':
      return bubble('tailed', ...(a.menu.head ? richText(a.menu.head) : []), el('ul', { class: 'choices' }, ...a.menu.items.map((item) => el('li', {},
        el('button', { type: 'button', 'data-menu-item': item.id }, item.content)))), ...(a.menu.tail ? richText(a.menu.tail) : []));
    case 'template':
    case 'subscribe':
      return bubble('plain', card(a.url, el('div', { class: 'body' }, el('span', { class: 'words' }, el('b', {}, a.title), el('small', { class: 'lines' }, a.description)))));
    case 'miniprogrampage':
      return bubble('plain', card('', el('div', { class: 'body' }, el('span', { class: 'words' }, el('b', {}, a.title), el('small', {}, `${a.app_id} ${a.page_path}`)))));
    case 'mpnews':
    case 'mpnewsarticle':
    case 'wxcard':
      return bubble('plain', placeholder('link', t(`kind.${a.type}`), a.media_id || a.article_id || a.card_id));
    default:
      return null;
  }
}

/** One line for the list of users. */
export function summary(x) {
  if (x.banner) return t('banner');
  if (x.answer?.menu) return x.answer.menu.head || t('kind.msgmenu');
  if (x.answer?.title) return x.answer.title;
  if (x.answer) return x.answer.content ? x.answer.content.replace(/<[^>]+>/g, '') : t(`kind.${x.answer.type}`);
  return x.message.type === 'text' ? x.message.content : x.message.type === 'event' ? eventText(x.message) : t(`kind.${x.message.type}`);
}

/** What the user did, for events: WeChat shows no bubble for them. */
export function eventText(m) {
  const key = m.event_key || '';
  switch (m.event.toLowerCase()) {
    case 'subscribe': return key ? t('said.subscribe.scene', key.replace(/^qrscene_/, '')) : t('said.subscribe');
    case 'unsubscribe': return t('said.unsubscribe');
    case 'scan': return t('said.scan', key);
    case 'click': return t('said.click', key);
    case 'view': return t('said.view', key);
    case 'location': return t('said.location', coordinates(m));
    default: return t('said.other', m.event);
  }
}
