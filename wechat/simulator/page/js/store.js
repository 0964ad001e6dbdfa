// What the page knows. Exchanges come from history and from events in any order; the higher revision wins.

export const store = {
  cutoffMs: 5000,
  deliveries: 3,
  skewMs: 0, // platform's clock minus ours
  accounts: [],
  users: [],
  account: null, // id of the account in view
  openid: null, // user in view
  exchanges: new Map(), // of the user in view, by id
  shown: new Map(), // messages of the API to the user in view, by id
  last: new Map(), // newest exchange per user
  unread: new Map(), // per user
  hasNodes: false, // whether the back end's processes are shown
  hasModel: false, // whether the model and the breakers in front of it are shown
};

export const userKey = (u) => `${u.account}/${u.openid}`;
export const inView = (x) => x.account === store.account && x.openid === store.openid;
export const currentUser = () => store.users.find(inView);
export const currentAccount = () => store.accounts.find((a) => a.id === store.account);
export const platformNow = () => Date.now() + store.skewMs;

export function setClock(now) {
  store.skewMs = Date.parse(now) - Date.now();
}

export function takeState(state) {
  store.cutoffMs = state.cutoff_ms;
  store.deliveries = state.deliveries;
  store.accounts = state.accounts;
  store.hasNodes = state.nodes;
  store.hasModel = state.model;
  setClock(state.now);
  store.users = [];
  for (const user of state.users) {
    takeUser(user);
    if (user.last) takeLast(user.last);
  }
}

export function takeUser({ account, openid, number, following }) {
  const user = { account, openid, number, following };
  const i = store.users.findIndex((u) => userKey(u) === userKey(user));
  if (i < 0) store.users.push(user);
  else store.users[i] = user;
}

function takeLast(x) {
  const known = store.last.get(userKey(x));
  if (!known || x.id > known.id || (x.id === known.id && x.rev > known.rev)) store.last.set(userKey(x), x);
}

/** Returns whether the exchange is new or newer than what was known. */
export function takeExchange(x) {
  takeLast(x);
  if (!inView(x)) {
    if (x.done && (x.answer || x.banner)) {
      const seen = `${x.id}`;
      if (!counted.has(seen)) {
        counted.add(seen);
        store.unread.set(userKey(x), (store.unread.get(userKey(x)) || 0) + 1);
      }
    }
    return false;
  }
  const known = store.exchanges.get(x.id);
  if (known && known.rev >= x.rev) return false;
  store.exchanges.set(x.id, x);
  if (x.done) counted.add(`${x.id}`);
  return true;
}

/** Returns whether the message of the API is one for the view that was not there. */
export function takeShown(s) {
  takeLast({ ...s, rev: 0, message: null });
  if (!inView(s)) {
    if (!counted.has(`${s.id}`)) {
      counted.add(`${s.id}`);
      store.unread.set(userKey(s), (store.unread.get(userKey(s)) || 0) + 1);
    }
    return false;
  }
  counted.add(`${s.id}`);
  if (store.shown.has(s.id)) return false;
  store.shown.set(s.id, s);
  return true;
}

const counted = new Set(); // finished exchanges that were seen or counted as unread
