// Avatars, drawn from a name: two soft shapes on a colour, always the same for the same name.
import { svg } from './dom.js';

function hash(text) {
  let h = 2166136261;
  for (const c of text) h = Math.imul(h ^ c.codePointAt(0), 16777619);
  return h >>> 0;
}

export function avatar(name, label) {
  const h = hash(`${name}·${name.length}`);
  const hue = h % 360;
  const colour = (shift, light) => `hsl(${(hue + shift) % 360} 46% ${light}%)`;
  const x = 8 + (h >> 9) % 24;
  return svg('svg', { class: 'avatar', viewBox: '0 0 40 40', role: 'img', 'aria-label': label || name },
    svg('rect', { width: 40, height: 40, fill: colour(0, 66) }),
    svg('circle', { cx: x, cy: 6 + (h >> 5) % 12, r: 12 + (h >> 13) % 8, fill: colour(36, 76) }),
    svg('circle', { cx: 20, cy: 17, r: 6.6, fill: '#fff', opacity: 0.94 }),
    svg('path', { d: 'M6 40c1-10 7-14.5 14-14.5S33 30 34 40z', fill: '#fff', opacity: 0.94 }));
}

export function accountAvatar(label) {
  return svg('svg', { class: 'avatar', viewBox: '0 0 64 64', role: 'img', 'aria-label': label },
    svg('rect', { width: 64, height: 64, fill: '#07c160' }),
    svg('path', { d: 'M8 27c9-3 17-1 23 6 3-9 11-15 25-15-8 3-13 8-15 15-2 8-8 13-17 13h-6l5-5C17 38 13 33 8 27z', fill: '#fff' }));
}
