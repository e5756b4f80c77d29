// The panels below the price: each is there only while it is open, so that a page that is merely looked at costs the
// server one session.

import { many, why } from "./words.js";
import { write } from "./dom.js";

/** Starts and stops what `panel` is with its `<details>`: `{element, start(), stop(), again()}`. */
export class Panels {
  #all;

  constructor(all) {
    this.#all = all;
    for (const panel of all) {
      panel.element.addEventListener("toggle", () => (panel.element.open ? panel.start() : panel.stop()));
      if (panel.element.open) panel.start();
    }
  }

  /** The page goes away, or this tab is somebody else now. */
  stop() {
    for (const panel of this.#all) if (panel.element.open) panel.stop();
  }

  /** Nothing is heard from the server any more: connections that are not this tab's session begin anew. */
  again() {
    for (const panel of this.#all) panel.again?.();
  }

  start() {
    for (const panel of this.#all) if (panel.element.open) panel.start();
  }
}

const WORDS = { off: "", opening: "Connecting.", open: "Connected.", waiting: "It is tried again.", refused: "" };

/** The state of a side socket in words. */
export function stateWords({ phase, why: reason }) {
  return [reason ? why(reason) : "", WORDS[phase]].filter(Boolean).join(" ");
}

/** Shows such a state. */
export function showState(element, state) {
  element.dataset.phase = state.phase;
  write(element, stateWords(state));
}

/** `at most 3 streams` */
export function atMost(n, one) {
  return Number.isFinite(n) && n > 0 ? `at most ${many(n, one)}` : "any number of streams";
}
