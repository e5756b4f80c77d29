// Who this tab is. `?user_id=` fixes it; otherwise an id is made and kept in sessionStorage, so that every tab is a
// user of its own and a reload keeps it. Where tokens are asked for, the token says it, and the server tells. A duplicated tab copies sessionStorage: it asks the others and takes a new id.

import { tokens } from "./tokens.js";

const KEY = "btc-cluster.user_id";
const CHANNEL = "btc-cluster.tabs";
const PATIENCE = 200;

/** An id that nobody guesses, also where `crypto.randomUUID` is missing (plain http on another host). */
export function newId(source = crypto) {
  if (source.randomUUID) return source.randomUUID();
  const bytes = source.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** This tab's user. `onRenamed()` when another tab turns out to have had the id first. */
export class Identity {
  #id;
  #fixed;
  #stored;
  #named = null;
  #me = newId();
  #channel = null;
  #onRenamed;

  constructor(onRenamed) {
    this.#onRenamed = onRenamed;
    const asked = new URL(location.href).searchParams.get("user_id");
    this.#fixed = Boolean(asked);
    const stored = this.#fixed ? null : read();
    this.#stored = Boolean(stored);
    this.#id = asked || stored || newId();
    if (!this.#fixed) write(this.#id);
  }

  get id() {
    return this.named ?? this.#id;
  }

  /** What sessions ask for: null leaves it to the token. */
  get asked() {
    return tokens.asked && !this.#fixed ? null : this.#id;
  }

  /** The token's user, as the server has told, where tokens are asked for. */
  get named() {
    return tokens.asked ? this.#named : null;
  }

  set named(id) {
    this.#named = id;
  }

  /** Whether the address fixes the id. */
  get fixed() {
    return this.#fixed;
  }

  /** Claims the id among the other tabs; settles when it may be used. Later objections are heard as well. */
  async claim() {
    if (this.#fixed || typeof BroadcastChannel === "undefined") return;
    this.#channel = new BroadcastChannel(CHANNEL);
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    if (!this.#stored) return;
    this.#channel.postMessage({ claim: this.#id, by: this.#me });
    await new Promise((done) => setTimeout(done, PATIENCE));
  }

  /** Falls silent: the page is going away. */
  release() {
    this.#channel?.close();
    this.#channel = null;
    this.#stored = true;
  }

  #hear(data) {
    if (data?.claim === this.#id && data.by !== this.#me) this.#channel.postMessage({ taken: this.#id, to: data.by });
    if (data?.taken === this.#id && data.to === this.#me) {
      this.#id = newId();
      write(this.#id);
      this.#onRenamed();
    }
  }
}

function read() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}

function write(id) {
  try {
    sessionStorage.setItem(KEY, id);
  } catch {
    // Storage is forbidden here: the id lives as long as the page.
  }
}
