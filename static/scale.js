// From prices and times to pixels: ranges, round values, paths. Pure; numbers here are for drawing, never for reading.

import { HOUR, MINUTE, gaps, series } from "./candles.js";

const AIR = 0.08; // of the range, above and below
const CALMEST = 1e-4; // of the price: a smaller range would make a mountain of a cent
const WIDEST = 9; // a bar, in pixels

/** The prices from bottom to top, or null where there is nothing to draw. */
export function priceRange(candles) {
  if (candles.length === 0) return null;
  const all = candles.flatMap(({ at }) => Object.values(at));
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const middle = low / 2 + high / 2;
  const half = Math.max((high - low) / 2, (middle * CALMEST) / 2) * (1 + 2 * AIR);
  return { low: middle - half, high: middle + half };
}

/** Round prices within a range, about `most` (3 or more) at most, and how many decimals they need. */
export function roundPrices({ low, high }, most) {
  const raw = (high - low) / most;
  if (!(raw > 0) || !Number.isFinite(raw)) return { values: [], decimals: 0 };
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= raw * (1 - 1e-9)) ?? 10 * power;
  const decimals = Math.min(20, Math.max(0, -Math.floor(Math.log10(step) + 1e-9)));
  const first = Math.ceil(low / step);
  const count = Math.min(most + 1, Math.floor(high / step) - first + 1);
  return { values: Array.from({ length: Math.max(0, count) }, (_, n) => (first + n) * step), decimals };
}

/** Round local times in an hour, so far apart that a label of `room` pixels fits. `offset`: minutes west of UTC. */
export function roundTimes({ from, to }, width, room, offset) {
  const step = [5, 10, 15, 20, 30, 60].find((minutes) => (minutes * MINUTE * width) / HOUR >= room) ?? 60;
  const local = from - offset * MINUTE;
  const times = [];
  for (let t = Math.ceil(local / (step * MINUTE)) * step * MINUTE; t + offset * MINUTE <= to; t += step * MINUTE) {
    times.push(t + offset * MINUTE);
  }
  return times;
}

/** Where things are in a box `{left, top, width, height}`: pixels of times and prices, and the time of a pixel. */
export function scales({ from, to }, { low, high }, box) {
  const x = (time) => box.left + ((time - from) / (to - from)) * box.width;
  const y = (price) => box.top + ((high - price) / (high - low)) * box.height;
  const minuteAt = (pixel) => {
    const share = Math.min(1 - 1e-9, Math.max(0, (pixel - box.left) / box.width));
    return from + Math.floor((share * (to - from)) / MINUTE) * MINUTE;
  };
  return { x, y, minuteAt, middle: (time) => x(time + MINUTE / 2) };
}

/**
 * The hour as SVG paths: `bars` (a minute's low to high), `partial` (the same of minutes not seen whole or of several
 * pairs), `line` (the closes, never across a missing minute or from one pair to another), `gaps` (those minutes), `end` (the newest close, `{x, y}`).
 */
export function drawing(hour, at, box) {
  const wide = Math.max(1.5, Math.min(WIDEST, (box.width / (HOUR / MINUTE)) * 0.62));
  const bar = ({ time, at: { open, high, low, close } }) => {
    const [top, bottom] = [Math.max(open, high, low, close), Math.min(open, high, low, close)].map(at.y);
    const tall = Math.max(2, bottom - top);
    return rect(at.middle(time) - wide / 2, (top + bottom) / 2 - tall / 2, wide, tall);
  };
  const point = ({ time, at: { close } }) => `${round(at.middle(time))} ${round(at.y(close))}`;
  const last = hour.candles.at(-1);
  return {
    bars: hour.candles.filter((candle) => !isDoubtful(candle)).map(bar).join(""),
    partial: hour.candles.filter(isDoubtful).map(bar).join(""),
    // A point without neighbours is a line without length: round ends make a dot of it.
    line: series(hour.candles).map((run) => `M${run.map(point).join("L")}${run.length === 1 ? "h0" : ""}`).join(""),
    gaps: gaps(hour).map(({ from, to }) => rect(at.x(from), box.top, at.x(to) - at.x(from), box.height)).join(""),
    end: last ? { x: at.middle(last.time), y: at.y(last.at.close) } : null,
  };
}

/** Whether a candle is less than it looks. */
function isDoubtful({ partial, pairs }) {
  return partial || pairs.length > 1;
}

function rect(x, y, width, height) {
  return `M${round(x)} ${round(y)}h${round(width)}v${round(height)}h${round(-width)}z`;
}

function round(n) {
  return Math.round(n * 10) / 10;
}
