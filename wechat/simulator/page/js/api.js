// The platform's API: questions, what a user does, and the event stream. All addresses are relative to the page.

async function ask(path, options) {
  const response = await fetch(path, { cache: 'no-store', ...options });
  const body = await response.json();
  if (!response.ok) throw new Error(body.error || `HTTP ${response.status}`);
  return body;
}

const post = (path, body) => ask(path, {
  method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body),
});

export const loadState = () => ask('api/state');
export const loadHistory = (account, openid) => ask(`api/history?${new URLSearchParams({ account, openid })}`);
export const push = (account, openid, message) => post('api/push', { account, openid, message });
export const loadNodes = () => ask('api/nodes');
export const actOnNode = (name, action) => post('api/nodes', { name, action });
export const loadFaults = () => ask('api/faults');
export const injectFault = (fault) => post('api/faults', fault);
export const clearFault = (id) => ask(`api/faults/${encodeURIComponent(id)}`, { method: 'DELETE' });
export const loadModel = () => ask('api/model');
export const turnKnobs = (knobs) => post('api/model', knobs);
export const addUser = (account) => post('api/users', { account });

/** Keeps a picture on the platform and returns what an image message needs. */
export async function keepPicture(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let binary = '';
  for (let i = 0; i < bytes.length; i += 0x8000) binary += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  const { media_id } = await post('api/media', { data: btoa(binary) });
  return { media_id, pic_url: new URL(`media/${media_id}`, document.baseURI).href };
}

/**
 * Listens until the page goes. onOpen runs on every (re)connection, before its events: whatever was missed must be asked for.
 * The browser reconnects by itself while the server answers; where it gives up, we try again.
 */
export function listen({ onOpen, onDown, onUser, onExchange, onShown, onTyping }) {
  const source = new EventSource('api/events');
  source.addEventListener('hello', (e) => onOpen(JSON.parse(e.data)));
  source.addEventListener('user', (e) => onUser(JSON.parse(e.data)));
  source.addEventListener('exchange', (e) => onExchange(JSON.parse(e.data)));
  source.addEventListener('shown', (e) => onShown(JSON.parse(e.data)));
  source.addEventListener('typing', (e) => onTyping(JSON.parse(e.data)));
  source.addEventListener('error', () => {
    onDown();
    if (source.readyState === EventSource.CLOSED) setTimeout(() => listen({ onOpen, onDown, onUser, onExchange, onShown, onTyping }), 1500);
  });
}
