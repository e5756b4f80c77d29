// The streams that the server is configured with, each with a switch and its newest value.

import { handle, make, write } from "./dom.js";
import { atMost, showState } from "./panels.js";
import { streamed } from "./said.js";
import { here, refusalOf } from "./server.js";
import { SideSocket } from "./side-socket.js";
import { why } from "./words.js";

const PATIENCE = 10_000;
const NONE = "\u2013";

export class StreamsPanel {
  #with;
  #list;
  #remark;
  #sockets = [];
  #asked = 0;

  /** `userId()` and `wsUrl()` as of the main session. */
  constructor(root, { userId, wsUrl }) {
    this.element = root.getElementById("panel-streams");
    this.#with = { userId, wsUrl };
    this.#list = handle(root, "streams");
    this.#remark = root.getElementById("streams-remark");
  }

  async start() {
    const asked = ++this.#asked;
    write(this.#remark, "Asking which streams there are.");
    const answer = await listed();
    if (asked !== this.#asked) return;
    if (!answer.streams) return write(this.#remark, `${why(answer)} Close and open this panel to ask again.`);
    const { streams, connections_per_user: most } = answer;
    write(this.#remark, streams.length === 0 ? "This server has no streams." : `One user may have ${atMost(most, "stream")} open at a time.`);
    this.#sockets = streams.map((stream, at) => this.#row(stream, at + 1));
  }

  stop() {
    this.#asked += 1;
    for (const socket of this.#sockets) socket.close();
    this.#sockets = [];
    this.#list.replaceChildren();
    write(this.#remark, "");
  }

  #row({ name, path, channel, lines }, number) {
    const item = make("li", "", { "data-stream": name });
    const label = make("label", "", { class: "switch" });
    const box = make("input", "", { type: "checkbox", role: "switch", "data-testid": `stream-toggle-${number}` });
    label.append(box, make("span", name, { class: "id" }));
    const of = channel ?? (typeof lines === "string" ? `lines of ${lines}` : lines ? "lines" : "");
    const value = make("span", NONE, { class: "value digits", "data-testid": `stream-${number}` });
    const note = make("span", "", { class: "note" });
    const state = make("span", "", { class: "state-words", role: "status", "data-testid": `stream-state-${number}` });
    item.append(label, value, make("span", of, { class: "of" }), note, state);
    this.#list.append(item);
    const socket = new SideSocket({
      ...this.#with,
      path: path.replace(/^\//, ""),
      onText(text) {
        const told = streamed(text);
        write(value, told.value);
        write(note, told.note);
      },
      onState(now) {
        showState(state, now.phase === "open" ? { phase: "off" } : now);
        item.dataset.phase = now.phase;
        box.checked = now.phase !== "off" && now.phase !== "refused";
      },
    });
    box.addEventListener("change", () => (box.checked ? socket.open() : socket.close()));
    return socket;
  }
}

async function listed() {
  try {
    const response = await fetch(here("api/v1/streams"), { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (!response.ok) return await refusalOf(response);
    const { streams, connections_per_user } = await response.json();
    const sound = Array.isArray(streams) ? streams.filter((s) => typeof s?.path === "string") : [];
    return { streams: sound, connections_per_user };
  } catch {
    return { kind: "unreachable" };
  }
}
