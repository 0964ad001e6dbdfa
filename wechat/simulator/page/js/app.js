// The phone page: loads the state, follows the platform's events, and leads from user to user.
import { byId, toast } from './dom.js';
import { t, toggleLanguage, translatePage } from './i18n.js';
import * as api from './api.js';
import { store, takeState, takeUser, takeExchange, takeShown, setClock, currentUser, inView, userKey } from './store.js';
import { renderTimeline, showExchange, showShown, showTyping, scrollToEnd } from './chat.js';
import { renderUsers, renderHead, renderAccounts } from './users.js';
import { followNodes, leaveNodes, renderNodes } from './nodes.js';
import { renderModel, followModel, leaveModel } from './model.js';
import { renderFaults, followFaults, leaveFaults } from './faults.js';
import { startComposer, renderComposer, askScene } from './composer.js';

const isNarrow = matchMedia('(max-width: 720px)');
let listening = false;

async function say(message) {
  try {
    await api.push(store.account, store.openid, message);
    scrollToEnd();
  } catch (err) {
    toast(t('error.push', err.message));
  }
}

const event = (name, key) => ({ type: 'event', event: name, ...(key ? { event_key: key } : {}) });

async function choose(user, { focus = true } = {}) {
  store.account = user.account;
  store.openid = user.openid;
  store.exchanges = new Map();
  store.shown = new Map();
  showTyping(false);
  store.unread.delete(userKey(user));
  document.body.dataset.view = 'chat';
  renderUsers(choose);
  await loadChat();
  if (focus && !isNarrow.matches && !byId('writer').hidden) byId('text').focus();
}

/** Asks for the history of the user in view; events that came meanwhile win by their revision. */
async function loadChat() {
  const { account, openid } = store;
  const { exchanges, shown } = await api.loadHistory(account, openid);
  if (account !== store.account || openid !== store.openid) return; // another user was chosen meanwhile
  for (const x of exchanges) takeExchange(x);
  for (const s of shown) takeShown(s);
  renderTimeline();
  renderHead();
}

async function loadAll() {
  store.shown = new Map();
  store.exchanges = new Map(); // a platform that was started anew remembers nothing
  store.last = new Map();
  takeState(await api.loadState());
  if (!currentUser()) {
    store.account = store.accounts[0].id;
    store.openid = store.users.find((u) => u.account === store.account).openid;
  }
  renderAccounts();
  renderUsers(choose);
  renderHead();
  await loadChat();
}

function renderAll() {
  translatePage();
  renderAccounts();
  renderUsers(choose);
  renderHead();
  renderComposer(say);
  renderTimeline();
  renderNodes();
  renderModel();
  renderFaults();
  if (!listening) byId('live').textContent = t('live.down');
}

byId('language').addEventListener('click', () => { toggleLanguage(); renderAll(); });
byId('back').addEventListener('click', () => { document.body.dataset.view = 'list'; byId('users').querySelector('[aria-current="true"]')?.focus(); });
byId('follow').addEventListener('click', () => say(event(currentUser().following ? 'unsubscribe' : 'subscribe')));
byId('welcome-follow').addEventListener('click', () => say(event('subscribe')));
byId('welcome-scan').addEventListener('click', () => askScene((scene) => say(event('subscribe', `qrscene_${scene}`))));
byId('account').addEventListener('change', (e) => choose(store.users.find((u) => u.account === e.target.value)));
byId('add-user').addEventListener('click', async () => {
  try {
    const user = await api.addUser(store.account);
    takeUser(user);
    await choose(user);
  } catch (err) {
    toast(t('error.push', err.message));
  }
});

translatePage();
startComposer(say);
api.listen({
  onOpen: async ({ now }) => {
    setClock(now);
    try {
      await loadAll();
      listening = true;
      if (store.hasNodes) followNodes();
      if (store.hasModel) followModel();
      followFaults();
      byId('live').textContent = '';
      document.body.dataset.ready = 'true';
    } catch {
      byId('live').textContent = t('live.down');
    }
  },
  onDown: () => {
    listening = false;
    leaveNodes();
    leaveModel();
    leaveFaults();
    byId('live').textContent = t('live.down');
  },
  onUser: (user) => {
    takeUser(user);
    renderUsers(choose);
    if (inView(user)) renderHead();
  },
  onExchange: (x) => {
    if (takeExchange(x)) {
      const first = store.exchanges.size === 1;
      if (first) renderHead();
      showExchange(x);
    }
    renderUsers(choose);
  },
  onShown: (s) => {
    if (takeShown(s)) {
      showTyping(false);
      showShown(s);
      renderHead();
    }
    renderUsers(choose);
  },
  onTyping: ({ account, openid, on, for_ms }) => {
    if (inView({ account, openid })) showTyping(on, for_ms);
  },
});

// A tap on a line of a msgmenu sends it as text, with its id beside it.
byId('timeline').addEventListener('click', (e) => {
  const item = e.target.closest('[data-menu-item]');
  if (item) say({ type: 'text', content: item.textContent, menu_item: item.dataset.menuItem });
});
