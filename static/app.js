// The page: one session over a WebSocket, what it hears, and what is shown of it.
//
//   identity -> connection (session decides) -> messages -> prices, quotes, last hour -> views
//
// Time is one clock, state is in the modules that own it, and the views only show.

import { Chart } from "./chart.js";
import { makeClock } from "./clock.js";
import { ClusterView } from "./cluster-view.js";
import { Connection, here, problemOf, retryAfter } from "./connection.js";
import { Identity } from "./identity.js";
import { Info } from "./info.js";
import { LastHour } from "./last-hour.js";
import { Prices } from "./prices.js";
import { QuoteDesk } from "./quotes.js";
import { View } from "./view.js";

const clock = makeClock();
const view = new View(document, clock);
const cluster = new ClusterView(document, clock);
const prices = new Prices();
const chart = new Chart(document, () => lastHour.hour());
const lastHour = new LastHour({ clock, chart, say: (message) => connection.say(message) });
const info = new Info((known) => {
  view.madeUp(known);
  chart.price({ madeUp: known });
  lastHour.madeUp(known);
});
const identity = new Identity(renamed);
const connection = new Connection({
  clock,
  userId: () => identity.id,
  wsUrl: () => info.wsUrl,
  onState: showState,
  onMessage: hear,
});
const desk = new QuoteDesk({ post: postQuote, now: () => clock.now(), show: (result) => view.result(result) });

/** The symbol that this page shows: the one of the session's first price. */
let symbol = null;

async function begin() {
  view.user(identity);
  cluster.user(identity.id);
  await Promise.all([identity.claim(), info.begin()]);
  connection.tell({ type: "start" });
}

function renamed() {
  view.user(identity);
  cluster.user(identity.id);
  connection.tell({ type: "renamed" });
}

function showState(state) {
  view.connection(state);
  const live = state.phase === "connected";
  cluster.live(live);
  chart.price({ live });
  if (!live) lastHour.lost();
}

const HEARD = {
  welcome(message) {
    prices.welcome();
    view.session(message);
    cluster.worker(message.worker);
    info.welcome();
    lastHour.welcome(message);
    if (message.price) showPrice(message.price);
    else if (symbol) showPrice({ symbol, price: null });
    else noPrice();
  },
  price(message) {
    const [, of = ""] = /^price:([^@]*)/.exec(message.channel ?? "") ?? [];
    showPrice({ ...message, symbol: message.symbol ?? of });
  },
  quote(message) {
    desk.arrived(message);
    if (message.symbol === symbol) showPrice(message);
  },
  stats(message) {
    cluster.stats(message);
  },
  candle(message) {
    lastHour.candle(message);
  },
  system(message) {
    if (message.event === "pair-changed" && message.symbol === symbol) view.pairChanged(message);
  },
  ack(message) {
    lastHour.answered(message);
  },
  error(message) {
    lastHour.answered(message);
  },
};

function hear(message) {
  if (Object.hasOwn(HEARD, message.type)) HEARD[message.type](message);
}

function showPrice(quote) {
  symbol ??= quote.symbol;
  const newest = prices.take(quote, clock.now());
  if (!newest || newest.symbol !== symbol) return;
  lastHour.symbol(symbol);
  chart.price({ stale: Boolean(newest.stale), none: !newest.price });
  if (newest.price) info.source(newest.source);
  view.price(newest);
}

function noPrice() {
  chart.price({ stale: false, none: true });
  view.noPrice();
}

async function postQuote(userId) {
  try {
    const response = await fetch(here("api/v1/quotes"), {
      method: "POST",
      headers: { "content-type": "application/json" },
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
addEventListener("online", () => connection.tell({ type: "online" }));
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) connection.tell({ type: "visible" });
});
// A page in the back/forward cache is nobody: it lets go of its id and its session, and comes back as a reload would.
addEventListener("pagehide", () => {
  identity.release();
  connection.tell({ type: "leave" });
});
addEventListener("pageshow", ({ persisted }) => {
  if (persisted) begin();
});

begin();
