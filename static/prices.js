// What this tab knows of prices. Pure: quotes in, the newest out, never an older one.

/** -1, 0 or 1 for two positive decimal texts of any length, without a float. */
export function compareDecimals(a, b) {
  const [wholeA, fractionA = ""] = a.split(".");
  const [wholeB, fractionB = ""] = b.split(".");
  const width = Math.max(wholeA.length, wholeB.length);
  const depth = Math.max(fractionA.length, fractionB.length);
  const left = wholeA.padStart(width, "0") + fractionA.padEnd(depth, "0");
  const right = wholeB.padStart(width, "0") + fractionB.padEnd(depth, "0");
  return Math.sign(left < right ? -1 : left > right ? 1 : 0);
}

/** How old a quote is at `now`: its age at arrival and the time since, never below nothing. */
export function ageAt(quote, now) {
  return Math.max(0, quote.age_ms ?? 0) + Math.max(0, now - quote.arrivedAt);
}

/** The newest quote of each symbol. A `null` price is news, too: the server has none any more. */
export class Prices {
  #newest = new Map();
  #fresh = new Set();

  /** A new session: it may be a new server, whose numbers start anew. */
  welcome() {
    this.#fresh = new Set(this.#newest.keys());
  }

  /**
   * Takes a quote that arrived at `now`. Answers it as kept, or null when it is older than what was seen: no tab ever
   * goes back in time.
   */
  take(quote, now) {
    const before = this.#newest.get(quote.symbol);
    if (before && this.#isOlder(quote, before)) return null;
    this.#fresh.delete(quote.symbol);
    const kept = { ...quote, arrivedAt: now };
    if (quote.seq === undefined && before) kept.seq = before.seq;
    if (!kept.received_at && before) kept.received_at = before.received_at;
    this.#newest.set(quote.symbol, kept);
    return kept;
  }

  /** Whether a quote, or null, is newer than the newest of its symbol. Nothing is newer than what is not known. */
  isNews(quote) {
    return quote?.seq > this.#newest.get(quote?.symbol)?.seq;
  }

  #isOlder(quote, before) {
    if (!(quote.seq < before.seq)) return false;
    // Numbers grow over the death of a feeder and over upgrades, but not over a new start of the whole server:
    // the first one of a session counts when it was really received later.
    const restarted = this.#fresh.has(quote.symbol) && Date.parse(quote.received_at) > Date.parse(before.received_at);
    return !restarted;
  }
}
