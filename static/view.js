// Shows the price, this tab's session and the answer to the quote button. Knows the document and nothing else.

import { digits, figure, handle, make, mark, whileVisible, write } from "./dom.js";
import { compareDecimals } from "./prices.js";
import { isLive, word } from "./session.js";
import { age, currency, duration, many, milliseconds, opinion, refusal, significant, survived, why } from "./words.js";

const NONE = "\u2013";
const FLASH = 350; // how long a change is coloured
const REMARKED = 60_000; // how long a switch of pair is told
const CALM = 1_000; // at most one flash, arrow and title in this time, however fast the prices come

export class View {
  #clock;
  #age;
  #at;
  #state = null;
  #quote = null;
  #tooOld = false;
  #switchedAt = null;
  #flash = { at: -Infinity, price: null, kind: "", timer: 0 };
  #titled = { at: -Infinity, words: "" };

  /** `age(quote)` tells how old a quote is now, in milliseconds. */
  constructor(root, clock, age) {
    this.#clock = clock;
    this.#age = age;
    const id = (name) => root.getElementById(name);
    const test = (name) => handle(root, name);
    this.#at = {
      state: id("state"), word: test("connection"), trouble: id("trouble"), reason: test("connection-reason"),
      next: id("next-try"), again: id("again"),
      card: id("price-card"), mockMark: id("mock-mark"), staleMark: id("stale-mark"), title: id("price-title"),
      price: test("price"), unit: id("price-unit"), other: id("other-pair"), move: id("price-move"), source: test("price-source"), pair: id("price-pair"),
      age: test("price-age"), remark: id("price-remark"), switched: test("pair-changed"),
      user: test("user-id"), session: test("session-id"), worker: id("own-worker"), moves: test("moves"), server: id("server"),
      icon: root.querySelector("link[rel=icon]"), ask: test("quote-button"), result: test("quote-result"), rtt: test("quote-rtt"),
      sources: test("quote-sources"),
    };
    whileVisible(() => this.#tick(), 200);
    // The title is read where the page is not.
    setInterval(() => this.#entitle(this.#clock.now()), CALM);
  }

  onQuote(ask) {
    this.#at.ask.addEventListener("click", ask);
  }

  onAgain(again) {
    this.#at.again.addEventListener("click", again);
  }

  // ---- this tab's session

  user({ id, asked, named, fixed }) {
    write(this.#at.user, asked === null && named === null ? "\u2013" : id);
    this.#at.user.title = named !== null ? "named by the token" : fixed ? "fixed by the address of this page" : "made for this tab";
  }

  session({ session_id: session, worker, server, moves = 0, silence_ms: silence }) {
    write(this.#at.session, session);
    write(this.#at.server, `${server.name} ${server.version}`);
    this.moved({ worker, moves, silence_ms: silence });
  }

  /** The session is at another process, on the same connection. */
  moved({ worker, moves, silence_ms: silence }) {
    write(this.#at.worker, `${worker.id} (process ${worker.pid})`);
    write(this.#at.moves, survived(moves, silence));
  }

  connection(state) {
    const before = this.#state;
    this.#state = state;
    // Every message pushes the alarm of a living session: nothing to show.
    if (before && state.phase === "connected" && word(state) === word(before)) return;
    const { at: shown, text, button } = { at: this.#at, ...trouble(state) };
    write(shown.word, word(state));
    shown.state.dataset.word = word(state);
    shown.card.dataset.live = String(isLive(state));
    shown.trouble.hidden = !text;
    write(shown.reason, text);
    shown.again.hidden = !button;
    write(shown.again, button);
    if (state.phase !== "connected") for (const part of [shown.session, shown.worker, shown.moves]) write(part, "\u2013");
    this.#tick();
  }

  // ---- the price

  /** The newest quote that may be shown. */
  price(quote) {
    const shown = this.#at;
    this.#tooOld = false;
    this.#quote = quote;
    write(shown.title, `Price of ${quote.symbol}`);
    figure(shown.price, quote.price);
    write(shown.unit, currency(quote.pair));
    write(shown.other, quote.pair === quote.symbol ? "" : quote.pair);
    write(shown.source, quote.source);
    write(shown.pair, quote.pair);
    mark(shown.staleMark, "price-stale", quote.stale && "STALE");
    this.#madeUp(quote.mock === true);
    this.#moved(quote);
    this.#tick();
  }

  /** There is none, or it is `tooOld` to be shown. */
  noPrice(symbol, tooOld = false) {
    const shown = this.#at;
    this.#tooOld = tooOld;
    this.#quote = null;
    if (symbol) write(shown.title, `Price of ${symbol}`);
    shown.price.dataset.words = "";
    write(shown.price, "no price at the moment");
    shown.price.removeAttribute("title");
    for (const part of [shown.unit, shown.other, shown.move]) write(part, "");
    for (const part of [shown.source, shown.pair, shown.age]) write(part, "\u2013");
    this.#flash.price = null;
    mark(shown.staleMark, "price-stale", false);
    this.#madeUp(false);
    this.#tick();
  }

  /** The source quotes another pair from now on. */
  pairChanged({ from, to, source }) {
    this.#switchedAt = this.#clock.now();
    write(this.#at.switched, `Now ${to}${source ? ` from ${source}` : ""}, before ${from}.`);
  }

  #madeUp(yes) {
    const { mockMark, card, icon } = this.#at;
    mark(mockMark, "price-mock", yes && "MADE-UP PRICE (mock)", "Nobody trades at it.");
    card.toggleAttribute("data-mock", yes);
    const file = yes ? "favicon-mock.svg" : "favicon.svg";
    if (icon.getAttribute("href") !== file) icon.setAttribute("href", file);
  }

  /** Made-up and real prices, and those of two pairs, are no moves of each other. */
  #moved({ price, pair, mock }) {
    const { card, move } = this.#at;
    const kind = `${pair} ${mock === true}`;
    if (this.#flash.price === null || this.#flash.kind !== kind) {
      Object.assign(this.#flash, { price, kind });
      write(move, "");
      delete card.dataset.flash;
      return;
    }
    const now = this.#clock.now();
    const way = compareDecimals(price, this.#flash.price);
    if (way === 0 || now - this.#flash.at < CALM) return;
    write(move, way > 0 ? "\u25b2" : "\u25bc");
    card.dataset.move = card.dataset.flash = way > 0 ? "up" : "down";
    clearTimeout(this.#flash.timer);
    this.#flash = { at: now, price, kind, timer: setTimeout(() => delete card.dataset.flash, FLASH) };
  }

  // ---- what changes by itself: ages, the next try, the tab's title

  #tick() {
    const now = this.#clock.now();
    const shown = this.#at;
    const connected = this.#state !== null && isLive(this.#state);
    if (this.#quote) {
      const old = this.#age(this.#quote);
      write(shown.age, age(old));
      shown.age.dataset.ms = Math.round(old);
    }
    write(shown.remark, this.#tooOld && !connected ? "The last price heard is too old to be shown." : remark(this.#quote, connected));
    if (this.#switchedAt !== null && now - this.#switchedAt >= REMARKED) {
      this.#switchedAt = null;
      write(shown.switched, "");
    }
    write(shown.next, nextTry(this.#state, now));
    this.#entitle(now);
  }

  /** Words change at once, the price beside them once in a while. */
  #entitle(now) {
    const { price, words } = titleOf(this.#quote, this.#state);
    // A timer may be a little early.
    if (words === this.#titled.words && now - this.#titled.at < CALM - 50) return;
    this.#titled = { at: now, words };
    const title = price + words;
    if (document.title !== title) document.title = title;
  }

  // ---- the quote button

  result(result) {
    const shown = this.#at;
    shown.ask.disabled = result.kind === "asking";
    shown.result.dataset.kind = result.kind;
    shown.result.replaceChildren(...RESULTS[result.kind](result));
    write(shown.rtt, result.kind === "answer" && result.rtt !== null ? milliseconds(result.rtt) : "");
    const sources = result.kind === "answer" && Array.isArray(result.quote.sources) ? result.quote.sources : [];
    shown.sources.hidden = sources.length === 0;
    shown.sources.tBodies[0].replaceChildren(...sources.filter(Boolean).map(sourceRow));
  }
}

function trouble(state) {
  if (state.phase === "connected") return { text: isLive(state) ? "" : why({ kind: "silent" }), button: "" };
  const text = why(state.why);
  if (state.phase === "offline") return { text, button: "Connect again" };
  if (state.phase === "waiting") return { text, button: "Try now" };
  return { text, button: "" };
}

function nextTry(state, now) {
  if (state?.phase === "waiting") return `Next try in ${Math.max(0, Math.ceil((state.wakeAt - now) / 1_000))} s.`;
  if (state?.phase === "offline") return "The page will not come back by itself.";
  return state?.why ? "Trying now." : "";
}

function remark(quote, connected) {
  if (!quote) return connected ? "No source has a price to show." : "";
  if (!connected) return "Last heard; its age goes on.";
  if (quote.stale && quote.source === "median") return "No newer price: too few sources answer or agree.";
  if (quote.stale) return "The source has sent nothing newer.";
  if (quote.pair !== quote.symbol) {
    const [has, wanted] = [currency(quote.pair), currency(quote.symbol)];
    return `${quote.pair} stands in for ${quote.symbol}${has === wanted ? "" : `: ${has} is not ${wanted}`}.`;
  }
  if (quote.sources?.length > 1) return `Made of ${many(quote.sources.length, "source")}.`;
  return "";
}

function titleOf(quote, state) {
  if (!quote) return { price: "", words: ["reconnecting", "offline"].includes(state && word(state)) ? "btc-cluster (not connected)" : "btc-cluster" };
  const marks = [quote.mock === true && "made up", quote.stale && "stale", !(state && isLive(state)) && "not connected"].filter(Boolean);
  return { price: significant(quote.price)[0], words: ` ${quote.pair}${marks.length ? ` (${marks.join(", ")})` : ""}` };
}

function accepted({ sessions, unconfirmed }) {
  const silent = unconfirmed ? ` (${many(unconfirmed, "worker")} not heard of)` : "";
  return `Accepted for ${many(sessions, "session")}${silent}`;
}

function sourceRow({ source, pair, price, age_ms: ageMs, verdict }) {
  const row = make("tr", "", { "data-source": source, "data-verdict": verdict });
  const cell = make("td", price ? "" : NONE, { class: "number digits" });
  if (price) figure(cell, String(price));
  const old = Number.isFinite(ageMs) ? age(ageMs) : NONE;
  row.append(
    make("th", source, { scope: "row" }), make("td", pair ?? NONE), cell, make("td", old, { class: "number" }),
    make("td", opinion(verdict)),
  );
  return row;
}

const RESULTS = {
  asking: () => [],
  accepted: (receipt) => [`${accepted(receipt)}; waiting for it here.`],
  lost: (receipt) => [`${accepted(receipt)}, but nothing has come to this tab.`],
  unreachable: () => ["The server cannot be reached."],
  untold: ({ reason }) => [why(reason)],
  refused: (problem) => [refusal(problem), problem.retryAfterMs ? ` Again in ${duration(problem.retryAfterMs / 1_000)}.` : ""],
  answer({ quote, rtt }) {
    const price = make("strong", "", { class: "digits" });
    digits(price, quote.price);
    const facts = ` ${currency(quote.pair)} from ${quote.source},${quote.mock ? " made up," : ""} ${age(quote.age_ms)} old${quote.stale ? ", stale" : ""}`;
    const asked = rtt === null ? " (asked for elsewhere)" : "";
    return [price, `${facts}${asked}.`];
  },
};
