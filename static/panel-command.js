// `/command`: ECHO and PING, or whatever is typed; answers in plain text.

import { handle, make } from "./dom.js";
import { Log } from "./log.js";
import { showState } from "./panels.js";
import { command } from "./said.js";
import { SideSocket } from "./side-socket.js";

export class CommandPanel {
  #socket;

  constructor(root, { userId, wsUrl }) {
    this.element = root.getElementById("panel-command");
    const [input, send, state] = [handle(root, "command-input"), handle(root, "command-send"), handle(root, "command-state")];
    const log = new Log(handle(root, "command-log"));
    this.#socket = new SideSocket({
      path: "command",
      userId,
      wsUrl,
      onText: (text) => log.add({ kind: "other", who: "server", text, at: new Date() }),
      onState(now) {
        showState(state, now);
        send.disabled = now.phase !== "open";
      },
    });
    input.form.addEventListener("submit", (event) => {
      event.preventDefault();
      const text = command(input.value);
      if (!text.trim() || !this.#socket.say(text)) return;
      log.add({ kind: "own", who: "you", text, at: new Date() });
      input.value = "";
    });
    for (const word of ["ECHO Hello", "PING"]) {
      const example = make("button", word, { type: "button", class: "small" });
      example.addEventListener("click", () => {
        input.value = word;
        input.focus();
      });
      handle(root, "command-examples").append(example);
    }
  }

  start() {
    this.#socket.open();
  }

  again() {
    this.#socket.again();
  }

  stop() {
    this.#socket.close();
  }
}
