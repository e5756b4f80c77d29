// A list of lines that grows below and loses its oldest: what was said, by whom, when. Text only ever goes in as text.

import { make } from "./dom.js";

const MOST = 200; // lines
const LONGEST = 4_000; // characters of one line

/** An element with `role="log"`, filled. */
export class Log {
  #list;
  #keys = [];

  constructor(list) {
    this.#list = list;
  }

  /**
   * A line: `kind` is for the looks (`own`, `other`, `system`, `error`), `at` the time as a `Date`, if any. A line with
   * a `key` that is in the list already is not added again.
   */
  add({ who = "", text, kind = "other", at = null, key = null }) {
    if (key !== null && this.#keys.includes(key)) return;
    const list = this.#list;
    const below = list.scrollHeight - list.scrollTop - list.clientHeight < 8;
    const line = make("li", "", { "data-kind": kind });
    if (at && !Number.isNaN(at.getTime())) line.append(make("time", clock(at), { datetime: at.toISOString() }), " ");
    if (who) line.append(make("b", who), " ");
    line.append(make("span", text.length > LONGEST ? `${text.slice(0, LONGEST)}\u2026` : text));
    list.append(line);
    this.#keys.push(key);
    while (list.children.length > MOST) {
      list.firstElementChild.remove();
      this.#keys.shift();
    }
    if (below) list.scrollTop = list.scrollHeight;
  }

  clear() {
    this.#list.replaceChildren();
    this.#keys = [];
  }
}

function clock(at) {
  return [at.getHours(), at.getMinutes(), at.getSeconds()].map((n) => String(n).padStart(2, "0")).join(":");
}
