// Shows over which transport the session goes, lets one choose, and says so when something may be missing.

import { MODES } from "./fallback.js";
import { handle, mark, write } from "./dom.js";
import { speaks, via } from "./session.js";

const KEY = "btc-cluster.transport";
const REMARKED = 30_000; // how long a gap is told

const NOTES = {
  sse: "WebSockets do not get through from here: Server-Sent Events are used. WebSockets are tried again every few minutes.",
  poll: "Neither WebSockets nor Server-Sent Events get through from here: long polling is used. WebSockets are tried again every few minutes.",
};

/** What was chosen in this tab, or `auto`. */
export function chosenMode(storage = () => sessionStorage) {
  try {
    const mode = storage().getItem(KEY);
    return MODES.includes(mode) ? mode : "auto";
  } catch {
    return "auto";
  }
}

function remember(mode) {
  try {
    sessionStorage.setItem(KEY, mode);
  } catch {
    // Storage is forbidden here: the choice lives as long as the page.
  }
}

export class TransportView {
  #at;
  #timer = 0;

  /** `onChosen(mode)` when somebody chooses. */
  constructor(root, onChosen) {
    this.#at = { word: handle(root, "transport"), select: handle(root, "transport-select"), note: root.getElementById("transport-note"), gap: root.getElementById("gap-mark") };
    const mode = chosenMode();
    this.#at.select.value = mode;
    write(this.#at.word, mode === "auto" ? "websocket" : mode);
    this.#at.select.addEventListener("change", () => {
      remember(this.#at.select.value);
      onChosen(this.#at.select.value);
    });
  }

  /** The session's state. */
  show(state) {
    write(this.#at.word, via(state));
    const fallen = state.path.mode === "auto" && !speaks(state) && state.phase === "connected";
    write(this.#at.note, fallen ? NOTES[via(state)] : "");
  }

  /** Something may be missing; it is told for a while. */
  gap() {
    mark(this.#at.gap, "gap", "Some messages may be missing.", "The last session was lost; this is a new one.");
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => mark(this.#at.gap, "gap", false), REMARKED);
  }
}
