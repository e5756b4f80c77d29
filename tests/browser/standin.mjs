// A stand-in for the server: it speaks `btc-cluster.v1.json` and REST (docs/interface.md) as far as the page goes, and
// misbehaves on command, which the real one does not. For developing the page, and for the tests of page.test.mjs.
//
//   node standin.mjs [HTTP_PORT] [WS_PORT]
//
// A worker is a sleeping process that can really be killed; everything else lives in this one.

import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";
import { WebSocketServer } from "ws";
import { Sessions, eventsLink, pollLink, socketLink } from "./lib/standin-sessions.mjs";
import { Rooms, Sides } from "./lib/standin-sides.mjs";

const STATIC = new URL("../../static/", import.meta.url);
const SUBPROTOCOL = "btc-cluster.v1.json";
const CANDLES = "candle:BTC-USD@1m";
const MINUTE = 60_000;
const USER_ID = /^[A-Za-z0-9._~:@-]{1,128}$/;
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };
const HEADERS = {
  // The real one's, word for word.
  "content-security-policy":
    "default-src 'self'; connect-src 'self' ws: wss:; base-uri 'none'; frame-ancestors 'none'; form-action 'none'; object-src 'none'",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
};
const DEFAULTS = {
  http: 0, // ports; 0 takes a free one
  ws: 0,
  workers: 3,
  tick: 100, // milliseconds
  freshFor: 10_000,
  maxAge: 120_000,
  forgetAfter: 600_000,
  refuseStale: false,
  sessionsPerUser: 0,
  heartbeat: 25_000,
  mock: true, // what every price, quote and candle says
  source: "mock",
  pair: "BTC-USD",
  pageWsUrl: "", // "own" for its own second port, else the text itself
  statsUsers: true,
  history: 60, // minutes of made-up candles before the first price
  candles: true, // false: as a server that knows neither the channel nor the route
  candleEvery: 1_000, // milliseconds
  resume: true, // false: a welcome has no token
  listening: true, // false: neither Server-Sent Events nor long polling
  pollWait: 25_000,
  pollGap: 10_000,
  streamsPerUser: 3,
};

/** Starts one and answers it once it listens. */
export async function standin(options = {}) {
  const it = new Standin({ ...DEFAULTS, ...options });
  await it.start();
  return it;
}

class Standin {
  workers = [];
  asked = []; // {path, ticket, channels} of what opens a session
  requests = [];
  heard = [];
  candles = new Map(); // by start
  historyRefusal = null; // {status, slug, retryAfter}
  sources = null; // of an answer to a POST
  publishRefusal = null; // {code, message}
  refusal = null;
  silent = false; // sends nothing at all
  forgetful = false; // accepts a POST and delivers nothing
  quiet = false; // answers, but sends nothing of its own
  price = 64_250.12;
  seq = 0;
  startedAt = Date.now();
  receivedAt = 0;
  #timers = [];
  #servers = [];
  #upgrades = new WebSocketServer({ noServer: true, handleProtocols: (offered) => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : false) });
  #stopping = false;
  #health = "none";

  constructor(options) {
    this.options = options;
    this.all = new Sessions({
      resume: options.resume,
      welcome: (session, resumed) => this.#welcome(session, resumed),
      changed: () => (this.#sendStats(), this.rooms.changed()),
    });
    this.rooms = new Rooms({ all: () => [...this.sessions.values(), ...this.all.asleep.values()], showUsers: options.statsUsers });
    this.sides = new Sides({ most: options.streamsPerUser, values: () => this.#values() });
  }

  /** The living ones. */
  get sessions() {
    return this.all.live;
  }

  async start() {
    for (let id = 1; id <= this.options.workers; id += 1) this.#hire({ id, restarts: 0 });
    this.ports = {
      http: await this.#listen(this.options.http, (request, response) => this.#http(request, response)),
      ws: await this.#listen(this.options.ws, (request, response) => this.#plain(request, response)),
    };
    this.url = `http://127.0.0.1:${this.ports.http}`;
    this.#remember(this.options.history);
    if (this.options.tick > 0) {
      this.#every(this.options.tick, () => this.tick());
      this.tick();
    }
    this.#every(50, () => this.#watchHealth());
    this.#every(1_000, () => this.#sendStats());
    this.#every(this.options.candleEvery, () => this.#sendCandle());
  }

  /** As a stop by TERM: a notice, 1001, nobody listens any more. */
  async stop({ notice = true } = {}) {
    this.#stopping = true;
    this.#timers.forEach(clearInterval);
    if (notice) this.#all({ type: "system", event: "shutdown", reason: "shutdown", reconnect_in_ms: 300 });
    this.close(1001, "shutdown");
    for (const worker of this.workers) worker.child?.kill("SIGKILL");
    for (const server of this.#servers) server.close();
    await new Promise((done) => setTimeout(done, 50));
    for (const server of this.#servers) server.closeAllConnections();
  }

  // ---- what tests do to it

  /** A new price, or the next of a small walk. */
  tick(price) {
    if (this.silent) return;
    this.seq += 1;
    this.receivedAt = Date.now();
    this.price = price ?? Math.round((this.price + (Math.random() - 0.5) * 8) * 100) / 100;
    this.#health = "fresh";
    this.#note(this.receivedAt, this.price);
    this.#sendPrice();
  }

  /** The newest minute to everybody who asked for it, or another candle. */
  candle(candle = [...this.candles.values()].at(-1)) {
    const message = { type: "candle", channel: CANDLES, symbol: "BTC-USD", interval: "1m", ...candle };
    for (const session of this.sessions.values()) if (session.channels.has(CANDLES)) session.tell(message);
  }

  /** The session's message to one user (or to all). */
  send(message, userId) {
    for (const session of this.sessions.values()) if (!userId || session.userId === userId) session.tell(message);
  }

  /** Moves every session, or one user's, to the next worker, on the connection that it has. */
  move(silence = 12, userId) {
    for (const session of this.sessions.values()) {
      if (userId && session.userId !== userId) continue;
      session.worker = this.workers[session.worker.id % this.workers.length];
      session.moves += 1;
      const { id, pid } = session.worker;
      session.tell({ type: "system", event: "moved", worker: { id, pid }, silence_ms: silence, moves: session.moves });
    }
  }

  /** Closes every session, or one user's. */
  close(code, reason, userId) {
    for (const session of this.sessions.values()) if (!userId || session.userId === userId) session.close(code, reason);
  }

  /** Cuts them without a close frame. */
  cut(userId) {
    for (const session of this.sessions.values()) if (!userId || session.userId === userId) session.cut();
  }

  /** Refuses every upgrade from now on: `{status, slug, detail, retryAfter}`; null takes them again. */
  refuse(refusal) {
    this.refusal = refusal;
  }

  quote(more = {}) {
    const age = Date.now() - this.receivedAt;
    const { forgetAfter, maxAge, refuseStale, mock } = this.options;
    if (this.seq === 0 || age > forgetAfter || (refuseStale && age > maxAge)) return null;
    return {
      symbol: "BTC-USD", pair: this.options.pair, price: this.price.toFixed(2), source: this.options.source, time: null,
      received_at: new Date(this.receivedAt).toISOString(), age_ms: age, stale: age > Math.min(this.options.freshFor, this.options.maxAge),
      seq: this.seq, ...(mock && { mock }), ...more,
    };
  }

  // ---- candles

  /** A walk of so many minutes up to now, the same each time, that ends at the first price. */
  #remember(minutes) {
    const now = Math.floor(Date.now() / MINUTE) * MINUTE;
    const walk = Array.from({ length: minutes * 6 }, (_, n) => 40 * Math.sin(n / 50) + 25 * Math.sin(n / 17) + 9 * Math.sin(n * n));
    const shift = this.price - (walk.at(-1) ?? 0);
    for (const [n, step] of walk.entries()) this.#note(now - (minutes - n / 6) * MINUTE, shift + step);
  }

  #note(at, price) {
    const start = Math.floor(at / MINUTE) * MINUTE;
    const text = price.toFixed(2);
    const { mock, pair } = this.options;
    // As the real one: what is made up and what is real are never in one history.
    for (const [time, candle] of this.candles) if (Boolean(candle.mock) !== mock) this.candles.delete(time);
    const { open = text, high = text, low = text, ticks = 0, pair: before = pair, pairs = [before] } = this.candles.get(start) ?? {};
    const all = [pair, ...pairs.filter((one) => one !== pair)];
    const [time, top, bottom] = [new Date(start).toISOString(), Math.max(high, text), Math.min(low, text)];
    this.candles.set(start, { time, open, high: top.toFixed(2), low: bottom.toFixed(2), close: text, ticks: ticks + 1, ...(mock && { mock }), pair, ...(all.length > 1 && { pairs: all }) });
  }

  #sendCandle() {
    if (!this.silent && !this.quiet && this.candles.size > 0) this.candle();
  }

  // ---- workers

  #hire(worker) {
    const child = spawn("sleep", ["1000000"], { stdio: "ignore" });
    Object.assign(worker, { child, pid: child.pid, state: "ready", since: Date.now() });
    this.workers[worker.id - 1] = worker;
    child.once("exit", () => this.#died(worker));
  }

  #died(worker) {
    if (this.#stopping) return;
    Object.assign(worker, { pid: null, state: "backoff", restarts: worker.restarts + 1 });
    for (const session of this.sessions.values()) if (session.worker === worker) session.cut();
    setTimeout(() => this.#stopping || (this.#hire(worker), this.#sendStats()), 150);
  }

  #load(worker) {
    return [...this.sessions.values()].filter((session) => session.worker === worker).length;
  }

  // ---- HTTP

  async #listen(port, respond) {
    const server = createServer(respond);
    server.on("upgrade", (request, socket, head) => this.#upgrade(request, socket, head));
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    this.#servers.push(server);
    return server.address().port;
  }

  async #http(request, response) {
    const url = new URL(request.url, this.url);
    this.requests.push(`${request.method} ${url.pathname}`);
    const route = ROUTES[`${request.method} ${url.pathname}`];
    if (route) return route.call(this, request, response, url);
    if (request.method === "GET" && this.sides.has(url.pathname)) return this.#plain(request, response);
    const name = url.pathname === "/" ? "index.html" : url.pathname.slice(1);
    try {
      if (request.method !== "GET" || !/^[a-z-]+\.[a-z]+$/.test(name)) throw new Error("no such file");
      const body = await readFile(new URL(name, STATIC));
      response.writeHead(200, { ...HEADERS, "content-type": TYPES[extname(name)], "cache-control": "no-cache" }).end(body);
    } catch {
      problem(response, { status: 404, slug: "not-found", detail: `there is nothing at ${url.pathname}` });
    }
  }

  #plain(request, response) {
    this.#refused(response, new URL(request.url, this.url)) || upgradeRequired(response);
  }

  #opens(request, url, ticket) {
    const channels = url.searchParams.get("channels")?.split(",") ?? null;
    this.asked.push({ path: url.pathname, ticket, channels });
    const ready = this.workers.filter((worker) => worker.state === "ready");
    const worker = ready.toSorted((a, b) => this.#load(a) - this.#load(b))[0] ?? this.workers[0];
    return { userId: url.searchParams.get("user_id"), ticket, worker, channels: channels ?? ["price:BTC-USD", "stats"] };
  }

  #unlistened(response, url) {
    if (this.options.listening) return this.#refused(response, url);
    problem(response, { status: 404, slug: "not-found", detail: "there is nothing at this path" });
    return true;
  }

  #refused(response, url) {
    const refusal = this.#refusalOf(url);
    if (refusal) problem(response, refusal);
    return Boolean(refusal);
  }

  #refusalOf(url) {
    const user = url.searchParams.get("user_id") ?? "";
    if (this.refusal) return this.refusal;
    if (this.sides.has(url.pathname)) return this.sides.refusal(url.pathname, user);
    const unknown = (url.searchParams.get("channels")?.split(",") ?? []).find((name) => !this.#isChannel(name));
    if (unknown) return { status: 400, slug: "unknown-channel", detail: "channels: there is no such channel" };
    if (!USER_ID.test(user)) return { status: 400, slug: "bad-user-id", detail: "user_id may only have the characters A-Z a-z 0-9 . _ ~ : @ -" };
    const most = this.options.sessionsPerUser;
    const has = [...this.sessions.values()].filter((session) => session.userId === user).length;
    if (most > 0 && has >= most) return { status: 429, slug: "limit", detail: `this user has ${has} of ${most} sessions already`, retryAfter: 1 };
    return null;
  }

  #isChannel(name) {
    return ["price:BTC-USD", "price:BTC-USD@1s", "stats", CANDLES].includes(name) || this.rooms.is(name);
  }

  /** The newest of the streams' channels. */
  #values() {
    const price = { type: "price", channel: "price:BTC-USD", ...this.quote() };
    const candle = { type: "candle", channel: "candle:BTC-USD@1s", symbol: "BTC-USD", interval: "1s", ...[...this.candles.values()].at(-1) };
    return { "price:BTC-USD": price, "price:BTC-USD@1s": price, "candle:BTC-USD@1s": candle, stats: this.stats() };
  }

  static routes = {
    "GET /ws"(request, response, url) {
      this.#plain(request, response, url);
    },
    "GET /api/v1/events"(request, response, url) {
      if (this.#unlistened(response, url)) return;
      const ticket = request.headers["last-event-id"] ?? url.searchParams.get("resume");
      if (this.all.isOver(ticket)) return response.writeHead(204, HEADERS).end();
      response.writeHead(200, { ...HEADERS, "content-type": "text/event-stream", "cache-control": "no-cache" });
      response.write("retry: 3000\n\n");
      let session = null;
      const beat = setInterval(() => this.silent || response.write(":\n\n"), this.options.heartbeat);
      const link = eventsLink(response, (own, code) => (clearInterval(beat), session && this.all.gone(session, own, code)));
      session = this.all.open(link, this.#opens(request, url, ticket));
    },
    "GET /api/v1/poll"(request, response, url) {
      if (this.#unlistened(response, url)) return;
      const ticket = url.searchParams.get("cursor");
      if (this.all.isOver(ticket)) return problem(response, { status: 410, slug: "session-ended", detail: "this session is over" });
      let session = this.all.polled(ticket);
      const isNew = !session;
      if (isNew) {
        const { pollWait: wait, pollGap: gap } = this.options;
        const link = pollLink({ wait, gap, ticket: () => session.ticket(), onEnd: (own, code) => session && this.all.gone(session, own, code) });
        session = this.all.open(link, this.#opens(request, url, ticket));
      } else {
        this.asked.push({ path: url.pathname, ticket, channels: null });
      }
      const wait = url.searchParams.get("wait_ms") ?? this.options.pollWait;
      const left = session.link.poll((answer) => json(response, 200, answer), () => response.destroy(), Math.min(wait, this.options.pollWait));
      response.on("close", left);
    },
    "GET /api/v1/price"(request, response) {
      const quote = this.quote();
      if (quote) return json(response, 200, quote);
      problem(response, { status: 503, slug: "price-unavailable", detail: "there is no price at the moment", retryAfter: 1 });
    },
    "GET /api/v1/streams"(request, response) {
      json(response, 200, { streams: this.sides.streams, connections_per_user: this.options.streamsPerUser });
    },
    "GET /api/v1/info"(request, response) {
      const { pageWsUrl, mock } = this.options;
      const wsUrl = pageWsUrl === "own" ? `ws://127.0.0.1:${this.ports.ws}/ws` : pageWsUrl || null;
      json(response, 200, { name: "btc-cluster", version: "0.0.0-standin", environment: "test", ws_url: wsUrl, mock, symbols: ["BTC-USD"] });
    },
    "GET /api/v1/history"(request, response, url) {
      if (!this.options.candles) return problem(response, { status: 404, slug: "not-found", detail: "there is nothing at this path" });
      if (this.historyRefusal) return problem(response, this.historyRefusal);
      const { symbol, interval, limit } = Object.fromEntries(url.searchParams);
      json(response, 200, { symbol, interval, candles: [...this.candles.values()].slice(-limit) });
    },
    "GET /api/v1/stats"(request, response) {
      json(response, 200, this.stats());
    },
    async "POST /api/v1/quotes"(request, response) {
      let body = "";
      for await (const part of request) body += part;
      const { user_id: userId } = JSON.parse(body);
      const sessions = [...this.sessions.values()].filter((session) => session.userId === userId);
      const quote = this.quote();
      if (sessions.length === 0) return problem(response, { status: 404, slug: "user-not-connected", detail: "this user has no session" });
      if (!quote) return problem(response, { status: 503, slug: "price-unavailable", detail: "there is no price at the moment", retryAfter: 1 });
      const requestId = randomUUID();
      for (const session of this.forgetful ? [] : sessions) {
        session.tell({ type: "quote", request_id: requestId, ...quote, ...(this.sources && { sources: this.sources }) });
      }
      // The real one also answers the poster after the delivery.
      json(response, 202, { request_id: requestId, user_id: userId, symbol: "BTC-USD", sessions: sessions.length });
    },
  };

  // ---- sessions

  #upgrade(request, socket, head) {
    const url = new URL(request.url, this.url);
    const known = url.pathname === "/ws" || this.sides.has(url.pathname);
    const refusal = known ? this.#refusalOf(url) : { status: 404, slug: "not-found", detail: "no such endpoint" };
    if (refusal) return socket.end(`HTTP/1.1 ${refusal.status} Refused\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
    this.#upgrades.handleUpgrade(request, socket, head, (ws) => {
      if (url.pathname !== "/ws") return this.sides.open(ws, url.pathname, url.searchParams.get("user_id"));
      this.#open(ws, this.#opens(request, url, url.searchParams.get("resume")));
    });
  }

  #open(socket, wanted) {
    const link = socketLink(socket);
    const session = this.all.open(link, wanted);
    socket.on("message", (data) => this.#hear(session, data));
    // As the real one: whoever closes with anything but 1001 does not come back.
    socket.on("close", (code) => this.all.gone(session, link, code === 1005 ? 1000 : code));
  }

  #welcome({ id, userId, worker, moves, channels }, resumed) {
    return {
      type: "welcome", session_id: id, user_id: userId, worker: { id: worker.id, pid: worker.pid },
      server: { name: "btc-cluster", version: "0.0.0-standin" }, time: new Date().toISOString(), heartbeat_ms: this.options.heartbeat,
      resumed, ...(moves > 0 && { moves }), channels: [...channels], price: this.quote(), fresh_for_ms: this.options.freshFor, max_age_ms: this.options.maxAge,
      gone_after_ms: this.options.refuseStale ? this.options.maxAge : this.options.forgetAfter,
    };
  }

  #hear(session, data) {
    const message = JSON.parse(data);
    this.heard.push(message);
    if (this.silent) return;
    const { type, id, channels = [], channel } = message;
    if (type === "ping") session.tell({ type: "pong", id });
    if (type === "subscribe") this.#subscribe(session, message);
    if (type === "unsubscribe") {
      for (const name of channels) session.channels.delete(name);
      session.tell({ type: "ack", id });
      this.rooms.changed();
    }
    if (type === "publish") {
      if (this.publishRefusal) return session.tell({ type: "error", id, ...this.publishRefusal });
      session.tell({ type: "ack", id });
      this.rooms.say(channel, session.userId, message.data);
    }
  }

  #subscribe(session, { channels, id }) {
    const unknown = channels.find((name) => !(this.rooms.is(name) || (this.options.candles && name === CANDLES)));
    if (unknown) return session.tell({ type: "error", id, code: "unknown-channel", message: `there is no channel "${unknown}"` });
    for (const channel of channels) session.channels.add(channel);
    session.tell({ type: "ack", id });
    for (const channel of channels.filter((name) => this.rooms.is(name))) this.rooms.entered(session, channel);
    if (channels.includes(CANDLES) && !this.quiet && this.candles.size > 0) this.candle();
  }

  #sendPrice() {
    const quote = this.quote() ?? { symbol: "BTC-USD", price: null, seq: this.seq };
    this.#all({ type: "price", channel: "price:BTC-USD", ...quote });
  }

  /** A change of state is sent like a tick. */
  #watchHealth() {
    const quote = this.quote();
    const health = quote ? (quote.stale ? "stale" : "fresh") : "none";
    if (health !== this.#health && !this.silent) {
      this.#health = health;
      this.#sendPrice();
    }
  }

  stats() {
    const sessions = [...this.sessions.values()];
    const users = grouped(sessions);
    return {
      type: "stats", time: new Date().toISOString(), uptime_s: (Date.now() - this.startedAt) / 1_000, version: "0.0.0-standin",
      workers: this.workers.map((worker) => this.#row(worker, sessions)),
      feeder: { pid: process.pid, state: "ready", restarts: 0 },
      totals: { workers: this.workers.length, sessions: sessions.length, users: users.size, by_endpoint: { ws: sessions.length }, by_transport: { websocket: sessions.length } }, // as far as it matters here
      price: this.quote(),
      ...(this.options.statsUsers && {
        users: [...users].slice(0, 50).map(([id, of]) => ({ user_id: id, sessions: of.length, workers: [...new Set(of.map((s) => s.worker.id))] })),
        users_truncated: Math.max(0, users.size - 50),
      }),
    };
  }

  #row({ id, pid, state, restarts, since }, sessions) {
    const own = sessions.filter((session) => session.worker.id === id);
    return {
      id, pid, state, restarts, uptime_s: (Date.now() - since) / 1_000, sessions: own.length, users: new Set(own.map((s) => s.userId)).size,
      cpu_pct: 0.7 + id / 10, rss_bytes: 7_100_000 + id * 40_000, messages_in: 0, messages_out: 0, lag_ms: 0, age_ms: 0,
    };
  }

  #sendStats() {
    this.#all(this.stats());
  }

  #all(message) {
    if (!this.silent && !this.quiet) this.send(message);
  }

  #every(ms, call) {
    this.#timers.push(setInterval(call, ms));
  }
}

const ROUTES = Standin.routes;

function json(response, status, body, headers = {}) {
  response.writeHead(status, { ...HEADERS, "content-type": "application/json", "cache-control": "no-store", ...headers }).end(JSON.stringify(body));
}

function problem(response, { status, slug, detail, retryAfter }) {
  const headers = { "content-type": "application/problem+json", ...(retryAfter && { "retry-after": String(retryAfter) }) };
  json(response, status, { type: `https://btc-cluster.example/problems/${slug}`, title: slug, status, detail }, headers);
}

function upgradeRequired(response) {
  const headers = { "content-type": "application/problem+json", upgrade: "websocket", connection: "upgrade" };
  json(response, 426, { type: "about:blank", title: "Upgrade Required", status: 426 }, headers);
}

function grouped(sessions) {
  const users = new Map();
  for (const session of sessions) users.set(session.userId, [...(users.get(session.userId) ?? []), session]);
  return users;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [http = 3000, ws = 8080] = process.argv.slice(2).map(Number);
  const it = await standin({ http, ws, pageWsUrl: "own" });
  console.log(`the stand-in serves ${it.url}`);
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => it.stop());
}
