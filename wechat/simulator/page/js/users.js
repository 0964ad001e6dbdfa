// The list of users, and the head of the chat.
import { el, byId } from './dom.js';
import { t, clock, nickname } from './i18n.js';
import { avatar } from './avatar.js';
import { summary } from './bubble.js';
import { store, userKey, inView, currentUser, currentAccount } from './store.js';

export function renderUsers(onChoose) {
  byId('hint').textContent = t('hint', store.cutoffMs / 1000, store.deliveries);
  const list = byId('users');
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.user : null;
  list.replaceChildren(...store.users.filter((u) => u.account === store.account).map((u) => el('li', {}, row(u, onChoose))));
  if (focused) list.querySelector(`[data-user="${CSS.escape(focused)}"]`)?.focus();
}

function row(user, onChoose) {
  const name = nickname(user.number);
  const last = store.last.get(userKey(user));
  const unread = store.unread.get(userKey(user)) || 0;
  const line = last ? summary(last) : user.following ? t('users.none') : t('users.notFollowing');
  return el('button', { class: 'user', type: 'button', 'data-user': user.openid, 'aria-current': inView(user) ? 'true' : 'false', onclick: () => onChoose(user) },
    avatar(userKey(user), ''),
    el('span', { class: 'name' }, name, el('small', {}, user.openid)),
    last ? el('time', { datetime: last.at }, clock(last.at)) : el('span'),
    el('span', { class: 'last' }, line),
    unread ? el('span', { class: 'badge', 'aria-label': t('users.unread', unread) }, unread > 99 ? '99+' : String(unread)) : el('span'));
}

export function renderHead() {
  const user = currentUser();
  const account = currentAccount();
  if (!user || !account) return;
  byId('chat-title').textContent = t('account.name');
  byId('chat-subtitle').textContent = [nickname(user.number), user.openid, account.id, account.mode, account.format].join(' · ');
  const follow = byId('follow');
  follow.hidden = !user.following;
  follow.textContent = t('unfollow');
  byId('composer').inert = !user.following;
  byId('composer').hidden = !user.following;
  byId('welcome').hidden = user.following || store.exchanges.size > 0;
  byId('timeline').hidden = !byId('welcome').hidden;
  if (!user.following && store.exchanges.size > 0) {
    follow.hidden = false;
    follow.textContent = t('follow');
  }
}

export function renderAccounts() {
  byId('account-choice').hidden = store.accounts.length < 2;
  const select = byId('account');
  select.replaceChildren(...store.accounts.map((a) => el('option', { value: a.id }, `${a.id} · ${a.mode}`)));
  select.value = store.account;
}
