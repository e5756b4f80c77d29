// The streams that the server is configured with, each with a switch and its newest value.

import { handle, make, whileVisible, write } from "./dom.js";
import { atMost, showState } from "./panels.js";
import { streamed } from "./said.js";
import { here, refusalOf, send } from "./server.js";
import { SideSocket } from "./side-socket.js";
import { age, why } from "./words.js";

const PATIENCE = 10_000;
const NONE = "\u2013";
const OLD = 3_000; // a value that is older is told with its age

export class StreamsPanel {
  #with;
  #list;
  #remark;
  #sockets = [];
  #asked = 0;
  #rows = []; // functions that write a row's note

  /** `userId()` and `wsUrl()` as of the main session, `now()` as of the page's clock. */
  constructor(root, { userId, wsUrl, now }) {
    this.element = root.getElementById("panel-streams");
    this.#with = { userId, wsUrl, now };
    this.#list = handle(root, "streams");
    this.#remark = root.getElementById("streams-remark");
    whileVisible(() => this.#rows.forEach((tell) => tell()), 1_000);
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

  again() {
    for (const socket of this.#sockets) socket.again();
  }

  stop() {
    this.#asked += 1;
    this.#rows = [];
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
    const { userId, wsUrl, now } = this.#with;
    let [told, at] = ["", null];
    this.#rows.push(() => {
      const old = at === null ? 0 : now() - at;
      write(note, [told, old > OLD && `${age(old)} ago`].filter(Boolean).join(", "));
      item.toggleAttribute("data-old", old > OLD);
    });
    const tell = this.#rows.at(-1);
    const socket = new SideSocket({
      userId, wsUrl,
      path: path.replace(/^\//, ""),
      onText(text) {
        const { value: newest, note: more } = streamed(text);
        [told, at] = [more, now()];
        write(value, newest);
        tell();
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
    const response = await send(here("api/v1/streams"), { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (!response.ok) return await refusalOf(response);
    const { streams, connections_per_user } = await response.json();
    const sound = Array.isArray(streams) ? streams.filter((s) => typeof s?.path === "string") : [];
    return { streams: sound, connections_per_user };
  } catch {
    return { kind: "unreachable" };
  }
}
