// A chat room: the channel `chat:ROOM` of this tab's own session. Over a transport that only listens, the session is
// opened anew with the channel, and nothing can be said.

import { handle, make, write } from "./dom.js";
import { Log } from "./log.js";
import { plain, presence } from "./said.js";

const ROOM = /^[A-Za-z0-9._~:@-]{1,64}$/;
const LISTENS = "Over this transport the page only listens: what others say is shown, but to say something takes a WebSocket.";

export class ChatPanel {
  #with;
  #at;
  #log;
  #room = "lobby";
  #open = false;
  #session = null; // {speaks, channels} while there is one
  #asked = 0; // subscriptions
  #said = 0;
  #tried = null; // the channel that the session was opened anew for
  #unanswered = new Map(); // id -> text

  /**
   * `say(message)` speaks in the session and answers whether it could; `reopen()` opens it anew with `channel`;
   * `userId()` is who this tab is.
   */
  constructor(root, { say, reopen, userId }) {
    this.#with = { say, reopen, userId };
    this.element = root.getElementById("panel-chat");
    const at = (name) => handle(root, `chat-${name}`);
    this.#at = { input: at("input"), send: at("send"), room: at("room"), state: at("state"), presence: at("presence"), users: at("users") };
    this.#log = new Log(at("log"));
    this.#at.input.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#publish();
    });
    this.#at.room.addEventListener("change", () => this.#move());
    this.#at.room.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#move();
    });
    this.#show("");
  }

  /** The channel to open a session with that cannot ask for it, or null. */
  get channel() {
    return this.#open ? `chat:${this.#room}` : null;
  }

  start() {
    this.#open = true;
    this.#join();
  }

  stop() {
    this.#leave();
    this.#open = false;
  }

  /** A session began, or goes on. */
  welcome({ channels }, speaks) {
    this.#session = { speaks, channels: [...(channels ?? [])] };
    if (this.#unanswered.size > 0 && !this.#session.channels.includes(this.channel)) this.#unsure();
    if (this.#open) this.#join();
  }

  /** There is no session. */
  lost() {
    if (!this.#session) return;
    this.#session = null;
    if (this.#open) this.#show("Not connected.");
  }

  /** A session with this room was refused. */
  refused(words) {
    this.#open = false;
    this.#show(words);
  }

  message({ channel, data, from, time }) {
    if (channel !== this.channel) return;
    const own = from !== undefined && from === this.#with.userId();
    const at = time ? new Date(time) : null;
    this.#log.add({ kind: own ? "own" : "other", who: own ? "you" : String(from ?? "somebody"), text: plain(data), at, key: JSON.stringify([time, from, data]) });
  }

  presence(message) {
    if (message.channel !== this.channel) return;
    const { text, users } = presence(message);
    write(this.#at.presence, text);
    const items = (users ?? []).map(({ id, sessions }) => make("li", sessions > 1 ? `${id} (${sessions})` : id));
    this.#at.users.replaceChildren(...items);
  }

  /** An `ack` or an `error`, maybe of ours. */
  answered({ id, code, message }) {
    if (id === `chat-room-${this.#asked}`) {
      if (code) return this.#show(`This room cannot be entered: ${message ?? code}.`);
      this.#session?.channels.push(this.channel);
      return this.#show("");
    }
    const text = this.#unanswered.get(id);
    if (text === undefined) return;
    this.#unanswered.delete(id);
    if (!code) return this.#show("");
    this.#show(`Not sent: ${message ?? code}.`);
    if (!this.#at.input.value) this.#at.input.value = text;
  }

  #join() {
    const { say, reopen } = this.#with;
    const session = this.#session;
    if (!session) return this.#show("Not connected.");
    if (session.channels.includes(this.channel)) return this.#inside();
    if (session.speaks) {
      this.#asked += 1;
      this.#show("Entering the room.");
      say({ type: "subscribe", channels: [this.channel], id: `chat-room-${this.#asked}` });
    } else if (this.#tried === this.channel) {
      this.#show("This room cannot be entered over this transport.");
    } else {
      this.#tried = this.channel;
      this.#show("Entering the room.");
      reopen();
    }
  }

  #inside() {
    this.#tried = null;
    this.#show("");
  }

  #leave() {
    if (this.#session?.speaks && this.#session.channels.includes(this.channel)) {
      this.#with.say({ type: "unsubscribe", channels: [this.channel] });
      this.#session.channels = this.#session.channels.filter((name) => name !== this.channel);
    }
    this.#asked += 1;
    this.#tried = null;
    this.#log.clear();
    write(this.#at.presence, "");
    this.#at.users.replaceChildren();
  }

  #move() {
    const room = this.#at.room.value.trim();
    if (room === this.#room) return;
    if (!ROOM.test(room)) return this.#show("A room has 1 to 64 of the characters A-Z a-z 0-9 . _ ~ : @ -");
    this.#leave();
    this.#room = room;
    if (this.#open) this.#join();
  }

  #publish() {
    const text = this.#at.input.value;
    if (!text.trim()) return;
    const id = `chat-${++this.#said}`;
    if (!this.#with.say({ type: "publish", channel: this.channel, data: { text }, id })) return this.#show("Not connected.");
    this.#unanswered.set(id, text);
    this.#at.input.value = "";
  }

  #unsure() {
    this.#unanswered.clear();
    this.#log.add({ kind: "system", text: "The connection was lost: whether the last message got through is not known." });
  }

  #show(words) {
    const { input, send, state } = this.#at;
    const listens = this.#session !== null && !this.#session.speaks;
    const inside = this.#session?.channels.includes(this.channel) ?? false;
    send.disabled = !inside || listens;
    input.disabled = listens;
    write(state, [words, inside && listens ? LISTENS : ""].filter(Boolean).join(" "));
  }
}
