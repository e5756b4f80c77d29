// Shows the statistics: the workers, the users and where they sit. Rows are kept and changed in place.

import { handle, make, whileVisible, write } from "./dom.js";
import { bytes, count, duration, many, percent } from "./words.js";

const COLUMNS = [
  ["Worker", (w) => `Worker ${w.id}`],
  ["State", (w) => w.state],
  ["PID", (w) => count(w.pid ?? NaN), "number"],
  ["Up", (w, since) => duration(w.uptime_s + since / 1_000), "number"],
  ["Restarts", (w) => count(w.restarts), "number"],
  ["Sessions", (w) => count(w.sessions), "number"],
  ["CPU", (w) => percent(w.cpu_pct), "number"],
  ["Memory", (w) => bytes(w.rss_bytes), "number"],
];

export class ClusterView {
  #clock;
  #at;
  #stats = null;
  #arrivedAt = 0;
  #live = false;
  #worker = { id: null, pid: null };
  #user = "";

  constructor(root, clock) {
    this.#clock = clock;
    const id = (name) => root.getElementById(name);
    const table = handle(root, "workers");
    this.#at = {
      section: id("cluster"), body: table.tBodies[0], remark: id("stats-remark"),
      totals: handle(root, "totals"), workers: id("total-workers"), sessions: id("total-sessions"), users: id("total-users"),
      list: handle(root, "users"), more: id("users-remark"),
    };
    whileVisible(() => this.#tick(), 1_000);
  }

  /** The newest statistics. */
  stats(stats) {
    this.#stats = stats;
    this.#arrivedAt = this.#clock.now();
    this.#totals(stats.totals);
    this.#users(stats);
    this.#tick();
  }

  /** Whose tab this is. */
  user(id) {
    this.#user = id;
    if (this.#stats) this.#users(this.#stats);
  }

  /** The worker that holds this tab's session; its id is null where there is none. Newer than what the statistics say. */
  worker({ id, pid }) {
    this.#worker = { id, pid };
    const row = this.#stats?.workers.find((worker) => worker.id === id);
    if (row && pid && !this.#isKnown()) row.pid = pid;
    this.#tick();
  }

  /** Whether the session hears statistics. */
  hears(yes) {
    if (!this.#stats) write(this.#at.remark, yes ? "No statistics yet." : "The statistics are not for this session.");
  }

  /** Whether there is a session: without one the numbers are old, and nothing of them counts on. */
  live(yes) {
    if (this.#live === yes) return;
    this.#live = yes;
    this.#at.section.dataset.live = String(yes);
    this.#tick();
  }

  #tick() {
    if (!this.#stats) return;
    const old = this.#clock.now() - this.#arrivedAt;
    this.#rows(this.#live ? old : 0);
    write(this.#at.remark, `${this.#live ? "As of" : "Not connected: as it was"} ${duration(old / 1_000)} ago.`);
  }

  #rows(since) {
    const { body } = this.#at;
    const { workers } = this.#stats;
    const isOwn = ({ id, pid }) => id === this.#worker.id && (pid === this.#worker.pid || !this.#isKnown());
    // By place and not by number: while a worker is replaced, two have the same.
    for (const [place, worker] of workers.entries()) {
      fill(body.rows[place] ?? body.appendChild(newRow()), worker, since, isOwn(worker));
    }
    while (body.rows.length > workers.length) body.rows[workers.length].remove();
  }

  /** Whether the statistics have the process that holds this tab's session. */
  #isKnown() {
    const { id, pid } = this.#worker;
    return this.#stats.workers.some((worker) => worker.id === id && worker.pid === pid);
  }

  #totals(totals) {
    for (const name of ["workers", "sessions", "users"]) {
      write(this.#at[name], count(totals[name]));
      this.#at.totals.setAttribute(`data-${name}`, totals[name]);
    }
  }

  #users({ users, users_truncated: truncated }) {
    const { list, more } = this.#at;
    const seats = (users ?? []).map((user) => this.#seat(user));
    const marks = (items) => items.map((item) => `${item.className}|${item.textContent}`).join("\n");
    if (marks(seats) !== marks([...list.children])) list.replaceChildren(...seats);
    const left = truncated === true ? "more" : truncated > 0 ? `${truncated} more` : "";
    write(more, users ? (left && `and ${left}`) : "This server does not tell who its users are.");
  }

  #seat({ user_id: id, sessions, workers }) {
    const own = id === this.#user;
    const item = make("li", "", { "data-user-id": id, ...(own && { class: "own" }) });
    const where = `${workers.length === 1 ? "worker" : "workers"} ${workers.join(", ")}`;
    const tabs = sessions === 1 ? "" : `, ${many(sessions, "session")}`;
    item.append(make("span", id, { class: "id" }), make("span", `${own ? "this tab, " : ""}${where}${tabs}`, { class: "seat" }));
    return item;
  }
}

function newRow() {
  const row = make("tr", "", { role: "row" });
  for (const [label, , kind] of COLUMNS) {
    const cell = label === "Worker" ? make("th", "", { scope: "row", role: "rowheader" }) : make("td", "", { role: "cell" });
    if (kind) cell.className = kind;
    cell.dataset.label = label;
    row.append(cell);
  }
  return row;
}

function fill(row, worker, since, own) {
  row.dataset.workerId = worker.id;
  row.dataset.pid = worker.pid ?? "";
  row.dataset.sessions = worker.sessions;
  row.dataset.state = worker.state;
  row.classList.toggle("own", own);
  const up = worker.pid === null ? NaN : worker.uptime_s;
  for (const [at, [label, text]] of COLUMNS.entries()) {
    const mark = own && label === "Worker" ? " (this tab)" : "";
    write(row.cells[at], text({ ...worker, uptime_s: up }, since) + mark);
  }
}
