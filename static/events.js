// Reads a stream of Server-Sent Events (the WHATWG HTML standard, 9.2.6). Pure: pieces of text in, whole events out.

/** Keeps what is not whole yet, and the id of the last event that had one. */
export class EventReader {
  #rest = "";
  #started = false;
  #data = [];
  #type = "";
  #id = null;

  /** Takes a piece of text; answers the events that are whole now, `{type, data, id}`. */
  feed(text) {
    if (!this.#started && text) {
      this.#started = true;
      if (text.startsWith("\ufeff")) text = text.slice(1);
    }
    let all = this.#rest + text;
    // A CR at the end may be the first half of a CRLF.
    const held = all.endsWith("\r") ? "\r" : "";
    if (held) all = all.slice(0, -1);
    const lines = all.split(/\r\n|\r|\n/);
    this.#rest = lines.pop() + held;
    return lines.map((line) => this.#line(line)).filter(Boolean);
  }

  #line(line) {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") this.#data.push(value);
    if (field === "event") this.#type = value;
    if (field === "id" && !value.includes("\0")) this.#id = value;
    return null;
  }

  #dispatch() {
    const event = this.#data.length > 0 ? { type: this.#type || "message", data: this.#data.join("\n"), id: this.#id } : null;
    this.#data = [];
    this.#type = "";
    return event;
  }
}
