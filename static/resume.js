// What this tab has heard of its session, so that it can come back without a gap: over any transport, and over a reload.
//
// Numbered messages are counted since the last welcome; `TOKEN.N` is the ticket. See docs/sessions.md.

const NUMBERED = new Set(["quote", "message", "ack", "pong", "echo", "error"]);
const KEY = "btc-cluster.resume";

/** Whether the server keeps a message of this type until it is known to have come. */
export function isNumbered(type) {
  return NUMBERED.has(type);
}

export class Resume {
  #token = null;
  #count = 0;
  #told = null; // the ticket as the server itself names it
  #total = 0; // numbered messages of this page, over all sessions
  #skip = 0;
  #welcome = null;

  /** What was kept over a reload, or nothing. */
  restore(kept) {
    if (typeof kept?.ticket !== "string") return;
    this.#told = kept.ticket;
    this.#welcome = kept.welcome ?? null;
  }

  /** What to open a session with: its `ticket` is null where there is none. */
  offer() {
    return { ticket: this.#told ?? (this.#token && `${this.#token}.${this.#count}`), from: this.#total - this.#skip };
  }

  /** A welcome to what was opened with `offer`: tells whether there is a gap. */
  welcome(message, offer) {
    const resumed = message.resumed === true && offer.ticket !== null;
    // What the offer does not count comes once more: messages that came over the old connection after it was made.
    this.#skip = resumed ? this.#total - offer.from : 0;
    this.#token = typeof message.resume === "string" && message.resume ? message.resume : null;
    this.#count = 0;
    this.#told = null;
    this.#welcome = message;
    return offer.ticket !== null && !resumed;
  }

  /** The session goes on at another process: what its welcome said of the one before is over. */
  moved({ worker, moves, silence_ms }) {
    if (this.#welcome) this.#welcome = { ...this.#welcome, worker, moves, silence_ms };
  }

  /** Any other message: whether it is news. */
  heard({ type }) {
    if (!isNumbered(type)) return true;
    this.#count += 1;
    this.#told = null;
    if (this.#skip > 0) {
      this.#skip -= 1;
      return false;
    }
    this.#total += 1;
    return true;
  }

  /** The server's own word for where this session is now. */
  at(ticket) {
    this.#told = ticket;
  }

  /** The welcome of the session that goes on without a new one. Price and time of then are not news. */
  continued() {
    if (!this.#welcome) return null;
    const { price, time, ...welcome } = this.#welcome;
    return { ...welcome, resumed: true };
  }

  /** The session is over, or is not to be gone on with. */
  forget() {
    this.#token = this.#told = this.#welcome = null;
    this.#count = this.#skip = 0;
  }

  /** What a reload needs, or null. */
  keep() {
    const { ticket } = this.offer();
    return ticket && { ticket, welcome: this.continued() };
  }
}

/** Puts away what `Resume.keep` gave, for this user; null takes it away. */
export function putAway(userId, kept, storage = () => sessionStorage) {
  try {
    if (kept) storage().setItem(KEY, JSON.stringify({ userId, ...kept }));
    else storage().removeItem(KEY);
  } catch {
    // Storage is forbidden here or full: a reload is a new session.
  }
}

/**
 * Takes what was put away, if it is this user's. It is gone from there then: only a page that is going away leaves it
 * behind, so that a duplicated tab, which copies the storage, does not take the session away from the first.
 */
export function takeBack(userId, storage = () => sessionStorage) {
  try {
    const kept = JSON.parse(storage().getItem(KEY));
    storage().removeItem(KEY);
    return kept?.userId === userId ? kept : null;
  } catch {
    return null;
  }
}
