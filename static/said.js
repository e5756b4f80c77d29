// What the panels' endpoints say, as words. Pure: a message in, a line of the log or a value out; nothing is trusted.

import { bytes, count, duration, many } from "./words.js";

/** A text that should be JSON: the object, or null. */
export function objectOf(text) {
  try {
    const value = JSON.parse(text);
    return value !== null && typeof value === "object" && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

/** Any value as text: a text as it is, `{text}` as that text, all else as JSON. */
export function plain(value) {
  if (typeof value === "string") return value;
  if (typeof value?.text === "string") return value.text;
  return JSON.stringify(value) ?? "";
}

/** The newest of a stream: `{value, note}`. */
export function streamed(text) {
  const message = objectOf(text);
  if (!message) return { value: text, note: "" };
  switch (message.type) {
    case "price":
    case "quote":
      if (!message.price) return { value: "no price", note: "" };
      return { value: String(message.price), note: [message.pair, message.source, message.stale && "stale", message.mock && "made up"].filter(Boolean).join(", ") };
    case "candle":
      return { value: String(message.close ?? text), note: [message.symbol, message.interval && `candle of ${message.interval}`, Array.isArray(message.pairs) && message.pairs.join(" and "), message.mock && "made up"].filter(Boolean).join(", ") };
    case "stats": {
      const { sessions, users, workers } = message.totals ?? {};
      return { value: many(sessions ?? 0, "session"), note: `${many(users ?? 0, "user")}, ${many(workers ?? 0, "worker")}` };
    }
    case "presence":
      return { value: many(message.users_total ?? 0, "user"), note: many(message.sessions ?? 0, "session") };
    default:
      return { value: typeof message.line === "string" ? message.line : "data" in message ? plain(message.data) : text, note: "" };
  }
}

/** A line for a message of `/broadcast`. */
export function broadcasted(text) {
  const message = objectOf(text);
  if (!message) return { kind: "other", text };
  const at = message.time ? new Date(message.time) : null;
  const system = (words) => ({ kind: "system", text: words, at });
  switch (message.type) {
    case "echo":
      return { kind: "own", who: "you", text: plain(message.data), at };
    case "broadcast":
      return { kind: "other", who: String(message.from ?? "somebody"), text: plain(message.data), at };
    case "welcome":
      return system("You are in.");
    case "client_connected":
      return system(`${coming(message)} came; ${count(message.total)} here.`);
    case "client_disconnected":
      return system(`${coming(message)} left; ${count(message.total)} here.`);
    case "system":
      return system(event(message));
    default:
      return { kind: "other", text, at };
  }
}

function coming({ count: number = 1, clients }) {
  const names = Array.isArray(clients) ? clients.map((one) => (typeof one === "string" ? one : plain(one?.client_id ?? one))) : [];
  return names.length === 1 && number === 1 ? names[0] : many(number, "client");
}

function event({ event: name, connections, memory_bytes: memory, uptime_s: uptime, reason }) {
  if (name !== "heartbeat") return [name, reason].filter(Boolean).join(": ");
  return `Heartbeat: ${many(connections ?? 0, "connection")}, ${bytes(memory)}, up ${duration(uptime)}.`;
}

/** Who is in a room: `{text, users}`; no `users` where the operator does not show ids. */
export function presence({ users_total: total, sessions, users }) {
  const known = Array.isArray(users) ? users.filter(Boolean).map(({ user_id: id, sessions: tabs }) => ({ id: String(id), sessions: tabs })) : null;
  return { text: `${many(total ?? 0, "user")}, ${many(sessions ?? 0, "session")} here`, users: known };
}

/** What is typed into the console, as what is sent: `PING`, `ECHO words`, or JSON, or anything, as it is. */
export function command(typed) {
  const [, word, rest] = /^\s*(ping|echo)\b\s?(.*)$/is.exec(typed) ?? [];
  if (!word) return typed;
  return JSON.stringify(rest ? { action: word.toUpperCase(), data: rest } : { action: word.toUpperCase() });
}
