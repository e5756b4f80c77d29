// Draws the last hour: a bar from low to high and the line of closes, minute by minute. Pixels come from scale.js.

import { MINUTE, gaps } from "./candles.js";
import { figure, handle, mark, shape, whileVisible, write } from "./dom.js";
import { compareDecimals } from "./prices.js";
import { drawing, priceRange, roundPrices, roundTimes, scales } from "./scale.js";
import { groups } from "./words.js";

const EVERY = 1_000; // at most one drawing in this time, however fast the candles come
const NONE = "\u2013";
const FIGURES = ["open", "high", "low", "close"];
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const STEPS = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };

export class Chart {
  #at;
  #parts;
  #hour = () => null;
  #drawn = null; // the hour as drawn, and where things are in it
  #size = { width: 0, height: 0 };
  #changed = true;
  #drawnAt = -Infinity;
  #symbol = "";
  #history = "asking";
  #price = { live: false, stale: false, none: false };
  #picked = null; // a minute's start

  /** `hour()` tells what to show. */
  constructor(root, hour) {
    const id = (name) => root.getElementById(name);
    this.#hour = hour;
    this.#at = {
      card: id("chart-card"), plot: handle(root, "chart"), note: id("chart-note"), spoken: id("chart-spoken"),
      mockMark: id("chart-mock-mark"), empty: id("chart-empty"), when: id("chart-when"),
      ...Object.fromEntries(FIGURES.map((name) => [name, id(`chart-${name}`)])),
    };
    const svg = shape("svg", { "aria-hidden": "true" });
    this.#parts = Object.fromEntries(
      ["gaps", "grid", "bars", "partial", "line", "cursor"].map((name) => [name, shape("path", { class: name })]),
    );
    Object.assign(this.#parts, { svg, labels: shape("g"), end: shape("circle", { class: "end", r: 4, hidden: "" }), spot: shape("circle", { class: "spot", r: 5, hidden: "" }) });
    const { gaps: gap, grid, bars, partial, line, labels, end, cursor, spot } = this.#parts;
    svg.append(gap, grid, bars, partial, line, labels, end, cursor, spot);
    this.#at.plot.append(svg);
    this.#listen();
    whileVisible(() => this.#tick(), EVERY / 4);
  }

  symbol(symbol) {
    this.#symbol = symbol;
    this.news();
  }

  /** `asking`, `waiting` (there is none yet), `here` or `missing` (this server has none). */
  history(word) {
    this.#history = word;
    this.#at.card.hidden = word === "missing";
    this.news();
  }

  /** What is known of the price: `{live, stale, none}`, or some of it. */
  price(known) {
    if (Object.entries(known).every(([name, value]) => this.#price[name] === value)) return;
    Object.assign(this.#price, known);
    this.news();
  }

  /** Something is new: it will be drawn. */
  news() {
    this.#changed = true;
  }

  #tick() {
    const now = performance.now();
    if (now - this.#drawnAt < EVERY) return;
    const hour = this.#hour();
    if (!hour || (!this.#changed && hour.to === this.#drawn?.hour.to)) return;
    this.#drawnAt = now;
    this.#changed = false;
    this.#draw(hour);
  }

  // ---- the drawing

  #draw(hour) {
    const { plot, card, empty, note, mockMark } = this.#at;
    const { width, height } = this.#size;
    if (width === 0) return void (this.#changed = true);
    const range = priceRange(hour.candles);
    const em = parseFloat(getComputedStyle(plot).fontSize);
    const prices = range ? labelled(roundPrices(range, Math.max(3, Math.floor(height / (3.5 * em))))) : [];
    const side = Math.max(3, ...prices.map(({ text }) => text.length)) * 0.64 * em + 8;
    const box = { left: 2, top: 8, width: Math.max(60, width - side - 2), height: height - 8 - 1.9 * em };
    const at = scales(hour, range ?? { low: 0, high: 1 }, box);
    this.#drawn = { hour, at, box };
    this.#paths(hour, at, box);
    this.#axes(prices, hour, at, box, em);
    const state = stateOf(hour, this.#price, this.#history);
    card.dataset.live = String(state.live);
    const madeUp = hour.candles.some(({ mock }) => mock);
    mark(mockMark, "chart-mock", madeUp && "MADE-UP PRICES (mock)");
    card.toggleAttribute("data-mock", madeUp);
    write(empty, hour.candles.length > 0 ? "" : state.empty);
    write(note, state.note);
    plot.setAttribute("aria-label", summary(this.#symbol, hour, state, madeUp));
    this.#show();
  }

  #paths(hour, at, box) {
    const { svg, end, ...parts } = this.#parts;
    svg.setAttribute("viewBox", `0 0 ${this.#size.width} ${this.#size.height}`);
    const drawn = drawing(hour, at, box);
    for (const name of ["bars", "partial", "line", "gaps"]) parts[name].setAttribute("d", drawn[name]);
    place(end, drawn.end);
  }

  #axes(prices, hour, at, box, em) {
    const { grid, labels } = this.#parts;
    const right = box.left + box.width;
    const bottom = box.top + box.height;
    const times = roundTimes(hour, box.width, 6.2 * em, new Date(hour.to).getTimezoneOffset());
    const lines = prices.map(({ value }) => `M${box.left} ${at.y(value).toFixed(1)}H${right}`);
    const ticks = times.map((time) => `M${at.x(time).toFixed(1)} ${bottom}v4`);
    grid.setAttribute("d", [...lines, `M${box.left} ${bottom}H${right}`, ...ticks].join(""));
    const text = (label, x, y, anchor) => {
      const element = shape("text", { x, y, "text-anchor": anchor });
      element.textContent = label;
      return element;
    };
    labels.replaceChildren(
      ...prices.map((price) => text(price.text, right + 6, at.y(price.value) + 0.35 * em, "start")),
      // A label of the left edge would hang over it.
      ...times.filter((time) => at.x(time) > 2.5 * em).map((time) => text(CLOCK.format(time), at.x(time), bottom + 1.5 * em, "middle")),
    );
  }

  // ---- one minute, by pointer or key

  #listen() {
    const { plot } = this.#at;
    new ResizeObserver(([{ contentRect: { width, height } }]) => {
      this.#size = { width, height };
      this.#changed = true;
      this.#drawnAt = -Infinity;
      if (!document.hidden) this.#tick();
    }).observe(plot);
    const point = (event) => this.#drawn && this.#pick(this.#drawn.at.minuteAt(event.clientX - plot.getBoundingClientRect().left));
    plot.addEventListener("pointermove", point);
    plot.addEventListener("pointerdown", point);
    // A finger that is lifted leaves, too: what it pointed at stays until it points elsewhere.
    plot.addEventListener("pointerleave", ({ pointerType }) => pointerType === "mouse" && this.#pick(null));
    document.addEventListener("pointerdown", ({ target }) => plot.contains(target) || this.#pick(null));
    plot.addEventListener("blur", () => this.#pick(null));
    plot.addEventListener("keydown", (event) => this.#key(event));
  }

  #key(event) {
    const { key, altKey, ctrlKey, metaKey } = event;
    if (altKey || ctrlKey || metaKey || !this.#drawn) return;
    if (key !== "Escape" && !Object.hasOwn(STEPS, key)) return;
    event.preventDefault();
    const { from, to, candles } = this.#drawn.hour;
    const last = candles.at(-1)?.time ?? to - MINUTE;
    const next = (this.#picked ?? last + MINUTE) + STEPS[key] * MINUTE;
    this.#pick(key === "Escape" ? null : Math.min(last, Math.max(from, next)));
    const said = this.#picked === null ? "" : FIGURES.map((name) => `${name} ${this.#at[name].textContent}`).join(", ");
    write(this.#at.spoken, said && `${this.#at.when.textContent}: ${said}`);
  }

  #pick(minute) {
    if (minute === this.#picked) return;
    this.#picked = minute;
    this.#show();
  }

  /** The figures of the picked minute, else of all of them. */
  #show() {
    if (!this.#drawn) return;
    const { hour, at, box } = this.#drawn;
    const minute = this.#picked !== null && this.#picked >= hour.from && this.#picked < hour.to ? this.#picked : null;
    const candle = hour.candles.find(({ time }) => time === minute);
    const { cursor, spot } = this.#parts;
    cursor.setAttribute("d", minute === null ? "" : `M${at.middle(minute).toFixed(1)} ${box.top}v${box.height}`);
    place(spot, candle ? { x: at.middle(minute), y: at.y(candle.at.close) } : null);
    this.#at.card.toggleAttribute("data-picked", minute !== null);
    const shown = minute === null ? whole(hour.candles) : candle;
    write(this.#at.when, minute === null ? span(hour) : moment(minute, candle));
    for (const name of FIGURES) {
      if (shown) figure(this.#at[name], shown[name]);
      else write(this.#at[name], NONE);
    }
  }
}

function place(circle, point) {
  circle.toggleAttribute("hidden", !point);
  if (!point) return;
  circle.setAttribute("cx", point.x.toFixed(1));
  circle.setAttribute("cy", point.y.toFixed(1));
}

function labelled({ values, decimals }) {
  return values.map((value) => ({ value, text: groups(value.toFixed(decimals)).join("\u202f") }));
}

/** One candle of many, in the server's own digits. */
function whole(candles) {
  if (candles.length === 0) return null;
  const best = (name, way) => candles.map((candle) => candle[name]).reduce((a, b) => (compareDecimals(a, b) === way ? a : b));
  return { open: candles[0].open, high: best("high", 1), low: best("low", -1), close: candles.at(-1).close };
}

function span({ candles }) {
  if (candles.length === 0) return NONE;
  const [first, last] = [candles[0].time, candles.at(-1).time];
  return first === last ? CLOCK.format(first) : CLOCK.formatRange(first, last);
}

function moment(minute, candle) {
  if (!candle) return `${CLOCK.format(minute)}, no price`;
  const { partial, pairs } = candle;
  return [CLOCK.format(minute), partial && "not seen whole", pairs.length > 1 && pairs.join(" and ")].filter(Boolean).join(", ");
}

/** Whether the chart may look live, and what is said below it, or instead of it. */
function stateOf(hour, { live, stale, none }, history) {
  const last = hour.candles.at(-1);
  const until = last && CLOCK.format(last.time);
  const ended = gaps(hour).some(({ to }) => to === hour.to);
  const words = [];
  if (!live) words.push(last ? `Not connected: as it was at ${until}.` : "");
  else if (last && (stale || none || ended)) words.push(`No newer price since ${until}.`);
  if (hour.past) words.push(`Prices of ${DAY.format(last.time)}.`);
  if (live && last && history === "waiting") words.push("Older prices are not here yet.");
  words.push(hollow(hour.candles), pairsOf(hour.candles));
  const empty = { asking: "", waiting: "The last hour is not here yet.", here: "No price in the last hour." };
  return { live: live && !stale && !none && !ended, note: words.filter(Boolean).join(" "), empty: empty[history] ?? "" };
}

function hollow(candles) {
  const partial = candles.some((candle) => candle.partial) && "not seen whole";
  const mixed = candles.some(({ pairs }) => pairs.length > 1) && "of more than one pair";
  const which = [partial, mixed].filter(Boolean).join(" or ");
  return which && `Hollow: minutes ${which}.`;
}

function pairsOf(candles) {
  const all = new Set(candles.flatMap(({ pairs }) => pairs));
  return all.size > 1 ? `Prices of ${[...all].sort().join(" and ")}; no line joins them.` : "";
}

/** The chart for those who do not see it. */
function summary(symbol, hour, state, madeUp) {
  const all = whole(hour.candles);
  const name = `Last hour${symbol ? ` of ${symbol}` : ""}`;
  if (!all) return `${name}: ${state.empty || "no prices yet."}`;
  const figures = `from ${all.open} to ${all.close}, low ${all.low}, high ${all.high}, ${span(hour)}.`;
  return [`${name}: ${figures}`, madeUp && "Made-up prices.", state.note].filter(Boolean).join(" ");
}
