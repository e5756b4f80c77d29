// The page: one session over the transport that gets through, what it hears, and what is shown of it. Below it panels,
// each with a connection of its own while it is open; the chat is over the session.
//
//   identity -> connection (session decides) -> messages -> prices, quotes, last hour, chat -> views
//
// Time is one clock, state is in the modules that own it, and the views only show.

import { Chart } from "./chart.js";
import { makeClock } from "./clock.js";
import { ClusterView } from "./cluster-view.js";
import { Connection } from "./connection.js";
import { Identity } from "./identity.js";
import { Info } from "./info.js";
import { LastHour } from "./last-hour.js";
import { BroadcastPanel } from "./panel-broadcast.js";
import { ChatPanel } from "./panel-chat.js";
import { CommandPanel } from "./panel-command.js";
import { StreamsPanel } from "./panel-streams.js";
import { Panels } from "./panels.js";
import { Prices } from "./prices.js";
import { QuoteDesk } from "./quotes.js";
import { here, problemOf, retryAfter } from "./server.js";
import { isLive, prefersOwn, speaks } from "./session.js";
import { ShownPrice } from "./shown-price.js";
import { bearing, isAboutToken, tokens } from "./tokens.js";
import { TransportView, chosenMode } from "./transport-view.js";
import { View } from "./view.js";
import { why } from "./words.js";

const clock = makeClock();
const shownPrice = new ShownPrice({ clock, show: showPrice });
const view = new View(document, clock, (quote) => shownPrice.age(quote));
const cluster = new ClusterView(document, clock);
const prices = new Prices();
const chart = new Chart(document, () => lastHour.hour());
const lastHour = new LastHour({ clock, chart, say: (message) => connection.say(message) });
const info = new Info();
const identity = new Identity(renamed);
const connection = new Connection({
  clock,
  userId: () => identity.asked,
  tokens,
  wsUrl: () => info.wsUrl,
  channels,
  mode: chosenMode(),
  isNews: (quote) => prices.isNews(quote),
  onState: showState,
  onMessage: hear,
  onGap: () => transport.gap(),
});
const transport = new TransportView(document, (mode) => connection.tell({ type: "chosen", mode }));
const chat = new ChatPanel(document, {
  say: (message) => connection.say(message),
  reopen: () => connection.reopen(),
  userId: () => identity.id,
});
const beside = { userId: () => identity.asked, now: () => clock.now(), wsUrl: () => (prefersOwn(connection.state) ? null : info.wsUrl) };
const panels = new Panels([chat, new BroadcastPanel(document, beside), new CommandPanel(document, beside), new StreamsPanel(document, beside)]);
const desk = new QuoteDesk({ post: postQuote, now: () => clock.now(), show: (result) => view.result(result) });

/** The symbol that this page shows: the one of the session's first price. */
let symbol = null;

/** The room that the last session over a transport that only listens was asked for with, or null. */
let room = null;

/** Channels that nobody asked for are those that the token allows; a session that only listens was refused others. */
let narrowed = { tried: false, yes: false };

async function begin() {
  view.user(identity);
  cluster.user(identity.id);
  await Promise.all([identity.claim(), info.begin()]);
  view.user(identity);
  connection.restore();
  connection.tell({ type: "start" });
}

/** What a session that only listens is opened with: it cannot ask for more. A poll for each price would be too many. */
function channels(via) {
  const wanted = symbol ?? info.symbol;
  room = narrowed.yes ? null : wanted && chat.channel;
  narrowed.tried = Boolean(wanted);
  if (narrowed.yes) return null;
  return wanted && [`price:${wanted}${via === "poll" ? "@1s" : ""}`, "stats", `candle:${wanted}@1m`, ...(room ? [room] : [])];
}

function renamed() {
  if (identity.asked === null) return;
  view.user(identity);
  cluster.user(identity.id);
  panels.stop();
  connection.tell({ type: "renamed" });
  panels.start();
}

function showState(state) {
  view.connection(state);
  transport.show(state);
  const live = isLive(state);
  cluster.live(live);
  chart.price({ live });
  shownPrice.live(live, state.doubt === true);
  if (state.phase === "connected") return;
  cluster.worker({ id: null });
  if (state.phase === "waiting" && state.why?.kind === "silent") panels.again();
  lastHour.lost();
  chat.lost();
  refused(state);
  if (state.phase === "offline" && state.why?.slug === "unknown-channel" && room) {
    // The panel may have been closed since.
    if (chat.channel === room) chat.refused(why(state.why));
    room = null;
    connection.tell({ type: "again" });
  }
}

/** What a refusal for our token, or for none, means beyond the session. */
function refused({ phase, why: reason }) {
  if (!["waiting", "offline"].includes(phase)) return;
  const slug = reason?.slug;
  const mine = ["forbidden", "token-missing"].includes(slug) && !speaks(connection.state) && narrowed.tried;
  if (mine && !narrowed.yes) {
    narrowed.yes = true;
    return connection.tell({ type: "again" });
  }
  if (isAboutToken(slug)) info.changed();
  if (slug === "invalid-user-id" && tokens.asked) info.changed().then(() => tokens.asked || connection.tell({ type: "again" }));
}

function signedInAs(userId) {
  if (!tokens.asked || userId === identity.named) return;
  narrowed = { tried: false, yes: false };
  identity.named = userId;
  view.user(identity);
  cluster.user(userId);
}

const HEARD = {
  welcome(message) {
    signedInAs(message.user_id);
    prices.welcome();
    shownPrice.welcome(message);
    view.session(message);
    cluster.worker(message.worker);
    cluster.hears(message.channels?.includes("stats") !== false);
    info.welcome();
    lastHour.welcome(message);
    chat.welcome(message, speaks(connection.state));
    if (message.price === undefined) return; // it goes on
    if (message.price) take(message.price);
    else if (symbol) take({ symbol, price: null });
    else noPrice();
  },
  price(message) {
    const [, of = ""] = /^price:([^@]*)/.exec(message.channel ?? "") ?? [];
    take({ ...message, symbol: message.symbol ?? of });
  },
  quote(message) {
    desk.arrived(shownPrice.told(message));
    if (message.symbol === symbol) take(message);
  },
  stats(message) {
    cluster.stats(message);
    shownPrice.time(message.time);
    // A session that goes on without a welcome may wait long for a price that stands still.
    if (!symbol && message.price) take(message.price);
  },
  candle(message) {
    lastHour.candle(message);
  },
  system(message) {
    if (message.event === "pair-changed" && message.symbol === symbol) view.pairChanged(message);
    if (message.event === "price-rules") shownPrice.ruled(message);
    if (message.event === "moved") {
      view.moved(message);
      cluster.worker(message.worker);
    }
  },
  message(message) {
    chat.message(message);
  },
  presence(message) {
    chat.presence(message);
  },
  ack(message) {
    lastHour.answered(message);
    chat.answered(message);
  },
  error(message) {
    lastHour.answered(message);
    chat.answered(message);
  },
};

function hear(message) {
  shownPrice.heard();
  if (Object.hasOwn(HEARD, message.type)) HEARD[message.type](message);
}

function take(quote) {
  symbol ??= quote.symbol;
  const newest = prices.take(quote, clock.now());
  if (!newest || newest.symbol !== symbol) return;
  lastHour.symbol(symbol);
  shownPrice.take(newest);
}

function showPrice({ quote, stale, none }) {
  chart.price({ stale, none });
  if (none) view.noPrice(quote.symbol, Boolean(quote.price));
  else view.price({ ...quote, stale });
}

function noPrice() {
  chart.price({ stale: false, none: true });
  view.noPrice();
}

async function postQuote(userId) {
  const { token, fault, slug } = await tokens.fresh();
  if (fault) return { kind: "untold", reason: { kind: fault, slug } };
  try {
    const response = await fetch(here("api/v1/quotes"), {
      method: "POST",
      headers: bearing(token, { "content-type": "application/json" }),
      body: JSON.stringify({ user_id: userId }),
      signal: AbortSignal.timeout(10_000),
    });
    if (!response.ok) {
      return { kind: "refused", status: response.status, retryAfterMs: retryAfter(response), ...(await problemOf(response)) };
    }
    const { request_id: requestId, sessions, unconfirmed } = await response.json();
    return { kind: "accepted", requestId, sessions, unconfirmed };
  } catch {
    return { kind: "unreachable" };
  }
}

view.onQuote(() => desk.ask(identity.id));
view.onAgain(() => connection.tell({ type: "again" }));
setInterval(() => shownPrice.look(), 250);
addEventListener("btc-cluster:token", () => connection.signedIn());
addEventListener("online", () => connection.tell({ type: "online" }));
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) connection.tell({ type: "visible" });
});
// A page in the back/forward cache is nobody: it lets go of its id and its session, and comes back as a reload would.
addEventListener("pagehide", ({ persisted }) => {
  identity.release();
  connection.leave(persisted);
  panels.stop();
});
addEventListener("pageshow", ({ persisted }) => {
  if (!persisted) return;
  begin();
  panels.start();
});

begin();
