// The sessions of the stand-in: what docs/sessions.md says of three transports and of coming back, as small as it goes.

import { randomUUID } from "node:crypto";

const NUMBERED = new Set(["quote", "message", "ack", "pong", "echo", "error"]);
const STOPS = (code) => (code >= 4000 && code < 4100) || [1000, 1002, 1003, 1007, 1008, 1009].includes(code);

/** One session, over whatever link it has now: `{name, send(message, ticket), close(code, reason, inMs), cut()}`. */
export class Session {
  id = randomUUID();
  token = randomUUID();
  link = null;
  number = 0;
  moves = 0;
  kept = [];
  #inMs;

  constructor({ userId, worker, channels }) {
    Object.assign(this, { userId, worker, channels: new Set(channels) });
  }

  ticket(number = this.number) {
    return `${this.token}.${number}`;
  }

  tell(message) {
    if (message.type === "system" && message.reconnect_in_ms !== undefined) this.#inMs = message.reconnect_in_ms;
    if (!NUMBERED.has(message.type)) return this.link?.send(message, null);
    this.number += 1;
    this.kept.push({ number: this.number, message });
    this.link?.send(message, this.ticket());
  }

  close(code, reason) {
    this.link?.close(code, reason, this.#inMs);
  }

  cut() {
    this.link?.cut();
  }
}

export class Sessions {
  live = new Map(); // by id
  asleep = new Map(); // by token
  ended = new Set(); // tokens

  /** `welcome(session, resumed)` makes the message; `changed()` after each coming and going. */
  constructor({ resume, welcome, changed }) {
    Object.assign(this, { resume, welcome, changed });
  }

  /** Whether the session of this ticket has ended for good. */
  isOver(ticket) {
    return this.ended.has(split(ticket).token);
  }

  /** The living session over long polling that this cursor goes on with. */
  polled(ticket) {
    const { token } = split(ticket);
    return [...this.live.values()].find((session) => session.token === token && session.link.name === "poll");
  }

  /** Opens one over `link`, or goes on with the one of `ticket`. */
  open(link, { userId, ticket, worker, channels }) {
    const { token, seen } = split(ticket);
    const old = this.asleep.get(token) ?? [...this.live.values()].find((session) => session.token === token);
    const session = this.resume && old?.userId === userId ? old : new Session({ userId, worker, channels });
    const resumed = session === old;
    if (resumed && session.link) {
      const before = session.link;
      session.link = null;
      before.close(4005, "replaced");
    }
    this.asleep.delete(token);
    const missed = resumed ? session.kept.filter(({ number }) => number > seen) : [];
    Object.assign(session, { link, token: randomUUID(), number: 0, kept: [] });
    this.live.set(session.id, session);
    session.link.send({ ...this.welcome(session, resumed), ...(this.resume && { resume: session.token }) }, session.ticket());
    for (const { message } of missed) session.tell(message);
    this.changed();
    return session;
  }

  /** This link of it is gone, with that code. */
  gone(session, link, code) {
    if (session.link !== link) return;
    session.link = null;
    this.live.delete(session.id);
    if (STOPS(code)) this.ended.add(session.token);
    else if (this.resume) this.asleep.set(session.token, session);
    this.changed();
  }
}

function split(ticket) {
  const [token = "", seen] = (ticket ?? "").split(".");
  return { token, seen: seen === undefined ? Infinity : Number(seen) };
}

export function socketLink(socket) {
  return {
    name: "websocket",
    send: (message) => socket.readyState === socket.OPEN && socket.send(JSON.stringify(message)),
    close: (code, reason) => socket.close(code, reason),
    cut: () => socket.terminate(),
  };
}

export function eventsLink(response, onEnd) {
  const write = (message, ticket) =>
    response.write(`event: ${message.type}\n${ticket ? `id: ${ticket}\n` : ""}data: ${JSON.stringify(message)}\n\n`);
  const link = {
    name: "sse",
    send: write,
    close(code, reason, inMs) {
      write({ type: "close", code, reason, reconnect_in_ms: inMs }, null);
      onEnd(link, code);
      response.end();
    },
    cut: () => response.destroy(),
  };
  response.on("close", () => onEnd(link, 1006));
  return link;
}

/** Holds what was not fetched yet. `ticket()` is the cursor after all of it. */
export function pollLink({ wait, gap, ticket, onEnd }) {
  let [queue, waiting, timer, over] = [[], null, null, false];
  const alive = () => {
    clearTimeout(timer);
    if (!over) timer = setTimeout(() => onEnd(link, 1006), gap);
  };
  const flush = () => {
    if (!waiting) return;
    const { respond, held } = waiting;
    waiting = null;
    clearTimeout(held);
    const messages = queue;
    queue = [];
    respond({ cursor: ticket(), messages });
    alive();
  };
  const link = {
    name: "poll",
    send(message) {
      const state = message.channel && ["price", "stats", "candle", "presence"].includes(message.type);
      if (state) queue = queue.filter(({ type, channel }) => type !== message.type || channel !== message.channel);
      if (message.type === "stats") queue = queue.filter(({ type }) => type !== "stats");
      queue.push(message);
      // What is said in one go goes in one answer.
      queueMicrotask(flush);
    },
    close(code, reason, inMs) {
      queue.push({ type: "close", code, reason, reconnect_in_ms: inMs });
      flush();
      over = true;
      clearTimeout(timer);
      onEnd(link, code);
    },
    cut() {
      waiting?.drop();
      waiting = null;
      over = true;
      clearTimeout(timer);
      onEnd(link, 1006);
    },
    /** One poll; a second ends the first, empty. */
    poll(respond, drop, longest = wait) {
      flush();
      clearTimeout(timer);
      waiting = { respond, drop, held: setTimeout(flush, longest) };
      if (queue.length > 0 || longest === 0) flush();
      return () => {
        if (waiting?.respond !== respond) return;
        clearTimeout(waiting.held);
        waiting = null;
        alive();
      };
    },
  };
  alive();
  return link;
}
