// The minutes of the last hour: what the server's history said, and what was heard since. Pure.
//
// A candle is kept as `{time, open, high, low, close, ticks, partial, mock, pairs}`: `time` its start in milliseconds
// since 1970, prices the server's own texts, and in `at` the same prices as numbers, for pixels alone. `mock` says that
// its prices are made up, `pairs` which pairs gave them: usually one, none where the server does not say.
//
// Made-up and real candles are never shown together, as the server never tells them together: what came last stays.

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;

const PRICES = ["open", "high", "low", "close"];
const DECIMAL = /^\d+(\.\d+)?$/;
const LATE = 2 * MINUTE; // a candle so much older than the newest is a last word on its minute; more, and time went back

/** One candle as the server tells it, or null when it is none. */
export function candleOf(told) {
  const time = Math.floor(Date.parse(told?.time) / MINUTE) * MINUTE;
  const at = {};
  for (const name of PRICES) at[name] = typeof told?.[name] === "string" && DECIMAL.test(told[name]) ? Number(told[name]) : NaN;
  if (![time, ...Object.values(at)].every((n) => Number.isFinite(n) && n > 0)) return null;
  const { open, high, low, close, ticks, pair } = told;
  const pairs = (Array.isArray(told.pairs) ? told.pairs : [pair]).filter((name) => typeof name === "string");
  return { time, open, high, low, close, ticks, partial: told.partial === true, mock: told.mock === true, pairs, at };
}

/** The candles of one symbol, an hour of them at most. */
export class Candles {
  #kept = []; // by time, ascending

  /** A history: all there is, but for what was heard since `askedAt`, which is newer. */
  history(told, askedAt) {
    const since = this.#kept.filter(({ heardAt }) => heardAt >= askedAt);
    this.#kept = [];
    const past = told.map(candleOf).filter(Boolean).sort((a, b) => a.time - b.time);
    for (const candle of [...past, ...since]) this.#put(candle);
  }

  /** Whether the newest is made up; null where there is none. */
  get mock() {
    return this.#kept.at(-1)?.mock ?? null;
  }

  /** A live candle, heard at `now`. */
  hear(told, now) {
    const candle = candleOf(told);
    if (candle) this.#put({ ...candle, heardAt: now });
  }

  clear() {
    this.#kept = [];
  }

  /**
   * The hour to be shown when it is `now` on the server's wall clock: `{from, to, past, candles}`, oldest first. It
   * ends with this minute; where that hour has no candle (an old recording, a long outage) it is `past`, and ends with
   * the newest one.
   */
  hour(now) {
    const newest = this.#kept.length > 0 ? this.#kept.at(-1).time + MINUTE : 0;
    const current = (Math.floor(now / MINUTE) + 1) * MINUTE;
    const past = newest > 0 && Math.abs(current - newest) >= HOUR;
    const to = past ? newest : Math.max(newest, current);
    return { from: to - HOUR, to, past, candles: this.#kept.filter(({ time }) => time >= to - HOUR) };
  }

  #put(candle) {
    const back = candle.time < (this.#kept.at(-1)?.time ?? 0) - LATE;
    const others = this.#kept.filter(({ time, mock }) => mock === candle.mock && (back ? time < candle.time : time !== candle.time));
    const all = [...others, candle].sort((a, b) => a.time - b.time);
    this.#kept = all.filter(({ time }) => time > all.at(-1).time - HOUR);
  }
}

/** Whether a candle's prices mean the same as another's. */
function isOfKind(one, other) {
  return one.mock === other.mock && [...one.pairs].sort().join() === [...other.pairs].sort().join();
}

/** Series of candles of one kind: no minute is missing between them, nor does another pair begin. */
export function series(candles) {
  const all = [];
  for (const run of runs(candles)) {
    for (const candle of run) {
      if (candle !== run[0] && isOfKind(candle, all.at(-1).at(-1))) all.at(-1).push(candle);
      else all.push([candle]);
    }
  }
  return all;
}

/** Runs of candles without a minute missing between them. */
export function runs(candles) {
  const all = [];
  for (const candle of candles) {
    const run = all.at(-1);
    if (run && candle.time - run.at(-1).time === MINUTE) run.push(candle);
    else all.push([candle]);
  }
  return all;
}

/** The minutes without a price after the first candle, as `{from, to}`; the minute that has just begun is none. */
export function gaps(hour) {
  const ends = runs(hour.candles).map((run) => ({ first: run[0].time, end: run.at(-1).time + MINUTE }));
  const all = ends.map(({ end }, at) => ({ from: end, to: ends[at + 1]?.first ?? hour.to }));
  const last = all.at(-1);
  if (last && last.to - last.from <= MINUTE) all.pop();
  return all;
}
