// A bot for Hongyan in JavaScript, over NATS. Start it as often as you like: the instances share the messages.
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "@nats-io/transport-node";

const SUBJECT = process.env.BOT_SUBJECT ?? "hy.bot.example"; // hy.bot.<the bot's name in hongyan.yaml>
const QUEUE = "q"; // instances in one queue group share what comes

/** answer turns a request into a response. Everything that this bot can do is in here. */
async function answer(request) {
  const { message, session } = request;
  // What was kept for this user comes back with every message. Values are strings.
  const turns = Number(session.turns ?? 0) + 1;
  const say = (...answers) => ({ answers, session: { turns: String(turns) } });

  switch (message.kind) {
    case "text":
      if (message.text === "人工") return { hand_over: {} }; // to a support agent of the account
      if (message.text === "慢") {
        await sleep(5000); // the signs of life below keep the engine waiting
        return say("久等了。");
      }
      return say(`第 ${turns} 句：${message.text}`);
    case "image":
      return say(`收到图片 ${message.media.id}`); // by this id it can be sent back, or fetched from WeChat
    case "click": // of a menu button; the key is the one that you gave it
      return say(`您点了 ${message.event.key}`);
    default:
      return { handled: false }; // the next bot of the chain is asked
  }
}

/** serve answers one message of NATS. */
async function serve(msg) {
  // A sign of life at once and then every second: when this instance dies, the engine notices within three seconds, and asks another.
  const sign = () => msg.respond(JSON.stringify({ working: true }));
  sign();
  const signs = setInterval(sign, 1000);
  try {
    msg.respond(JSON.stringify(await answer(msg.json())));
  } catch (err) {
    console.error(err);
    msg.respond(JSON.stringify({ error: "bot_failed" })); // a short word for the engine's log
  } finally {
    clearInterval(signs);
  }
}

const nats = await connect({
  servers: process.env.NATS_URL ?? "nats://127.0.0.1:4222",
  token: process.env.NATS_TOKEN, // nats.bots.token
  name: "example-bot",
  maxReconnectAttempts: -1,
});
const inHand = new Set(); // what is being answered
const subscription = nats.subscribe(SUBJECT, {
  queue: QUEUE,
  callback: (err, msg) => {
    if (err) return console.error(err);
    const work = serve(msg);
    inHand.add(work);
    work.finally(() => inHand.delete(work));
  },
});
await nats.flush();
console.log(`listening on ${SUBJECT}`);

// On a stop: take nothing new, finish what is in hand, then end.
async function stop() {
  await subscription.drain();
  await Promise.all(inHand);
  await nats.drain();
}
process.once("SIGINT", stop);
process.once("SIGTERM", stop);
await nats.closed();
