// `/broadcast`: what one client says goes to all others.

import { handle } from "./dom.js";
import { Log } from "./log.js";
import { showState } from "./panels.js";
import { broadcasted } from "./said.js";
import { SideSocket } from "./side-socket.js";

export class BroadcastPanel {
  #socket;
  #count = 0;

  constructor(root, { userId, wsUrl }) {
    this.element = root.getElementById("panel-broadcast");
    const [button, state] = [handle(root, "broadcast-test"), handle(root, "broadcast-state")];
    const log = new Log(handle(root, "broadcast-log"));
    this.#socket = new SideSocket({
      path: "broadcast",
      userId,
      wsUrl,
      onText: (text) => log.add(broadcasted(text)),
      onState(now) {
        showState(state, now);
        button.disabled = now.phase !== "open";
      },
    });
    button.addEventListener("click", () => this.#socket.say(JSON.stringify({ text: "Test", n: ++this.#count })));
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
