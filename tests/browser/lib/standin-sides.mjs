// The other WebSocket endpoints of the stand-in (streams, `/broadcast`, `/command`), and the rooms of its sessions.

const GREETING = "Вы подключились";
const PREFIX = "Сервер услышал: ";
const ROOM = /^chat:[A-Za-z0-9._~:@-]{1,64}$/;

export class Sides {
  sockets = new Set(); // {socket, path, userId}
  closes = []; // {path, code}
  streams = [
    { name: "stream1", path: "/stream1", channel: "price:BTC-USD" },
    { name: "stream2", path: "/stream2", channel: "price:BTC-USD@1s" },
    { name: "stream3", path: "/stream3", channel: "candle:BTC-USD@1s" },
    { name: "stream4", path: "/stream4", channel: "stats" },
    { name: "syslog", path: "/syslog", lines: "/var/log/syslog" },
  ];

  /** `values()` tells the newest of each channel. */
  constructor({ most, values }) {
    Object.assign(this, { most, values });
  }

  has(path) {
    return ["/broadcast", "/command"].includes(path) || this.streams.some((stream) => stream.path === path);
  }

  refusal(path, userId) {
    const isStream = (one) => this.streams.some((stream) => stream.path === one);
    const open = [...this.sockets].filter((side) => isStream(side.path) && side.userId === userId).length;
    if (!isStream(path) || open < this.most) return null;
    return { status: 429, slug: "user-stream-limit", detail: "this user has as many streams open as one may have", retryAfter: 1 };
  }

  open(socket, path, userId) {
    const side = { socket, path, userId };
    this.sockets.add(side);
    socket.on("close", (code) => {
      this.sockets.delete(side);
      this.closes.push({ path, code });
      if (path === "/broadcast") this.#all({ type: "client_disconnected", count: 1, clients: [userId], total: this.#in(path).length });
    });
    if (path === "/command") return this.#command(side);
    if (path === "/broadcast") return this.#broadcast(side);
    const stream = this.streams.find((one) => one.path === path);
    side.timer = setInterval(() => this.#value(side, stream), 100);
    socket.on("close", () => clearInterval(side.timer));
    this.#value(side, stream);
  }

  #value({ socket }, { channel, lines }) {
    const value = lines ? "<b>a line</b> of the log" : this.values()[channel];
    if (value) socket.send(typeof value === "string" ? value : JSON.stringify(value));
  }

  #command({ socket }) {
    socket.send(GREETING);
    socket.on("message", (text) => {
      let said = null;
      try {
        said = JSON.parse(text);
      } catch {
        // told below
      }
      if (said?.action === "PING") socket.send("PONG");
      else if (said?.action === "ECHO") socket.send(`${PREFIX}${said.data ?? ""}`);
      else socket.send('Error: a command is {"action":"ECHO","data":...} or {"action":"PING"}');
    });
  }

  #broadcast(side) {
    const time = () => new Date().toISOString();
    side.socket.send(JSON.stringify({ type: "welcome", client: side.userId, time: time() }));
    this.#all({ type: "client_connected", count: 1, clients: [side.userId], total: this.#in("/broadcast").length, time: time() });
    side.socket.on("message", (text) => {
      const relayed = { data: JSON.parse(text), from: side.userId, time: time() };
      side.socket.send(JSON.stringify({ type: "echo", ...relayed }));
      this.#all({ type: "broadcast", ...relayed }, side);
    });
  }

  #in(path) {
    return [...this.sockets].filter((side) => side.path === path);
  }

  #all(message, but = null) {
    for (const side of this.#in("/broadcast")) if (side !== but && side.socket.readyState === 1) side.socket.send(JSON.stringify(message));
  }
}

export class Rooms {
  history = new Map(); // by channel

  /** `all()` lists the living and the sleeping sessions. */
  constructor({ all, showUsers }) {
    Object.assign(this, { all, showUsers });
  }

  is(channel) {
    return ROOM.test(channel);
  }

  /** A session came in: what was said last, and who is there. */
  entered(session, channel) {
    for (const message of this.history.get(channel) ?? []) session.tell(message);
    this.presence(channel);
  }

  say(channel, from, data) {
    const message = { type: "message", channel, data, from, time: new Date().toISOString() };
    this.history.set(channel, [...(this.history.get(channel) ?? []), message].slice(-50));
    for (const session of this.#in(channel)) session.tell(message);
  }

  presence(channel) {
    const there = this.#in(channel).filter((session) => session.link);
    const users = new Map();
    for (const { userId } of there) users.set(userId, (users.get(userId) ?? 0) + 1);
    const message = {
      type: "presence", channel, users_total: users.size, sessions: there.length, time: new Date().toISOString(),
      ...(this.showUsers && { users: [...users].map(([id, sessions]) => ({ user_id: id, sessions })) }),
    };
    for (const session of there) session.tell(message);
  }

  /** Somebody came or went. */
  changed() {
    for (const channel of new Set(this.all().flatMap((session) => [...session.channels].filter((name) => this.is(name))))) this.presence(channel);
  }

  #in(channel) {
    return this.all().filter((session) => session.channels.has(channel));
  }
}
