// A session over Server-Sent Events, read from a fetch and not by an `EventSource`: that one hides comments, which are
// the only sign of life in a quiet time; hides status and words of a refusal; gives up for good after any of them; has a
// back-off of its own beside ours; and cannot come back with the ticket of another transport but in the address, where
// logs see it.

import { EventReader } from "./events.js";
import { here, parsed, refusalOf } from "./server.js";
import { bearing } from "./tokens.js";

/** As transport-websocket.js tells. */
export function open(wanted, on) {
  const end = new AbortController();
  read(wanted, on, end.signal);
  return { say: () => false, drop: () => end.abort(), close() {} };
}

async function read({ userId, channels, ticket, token }, on, signal) {
  const told = (name, ...all) => signal.aborted || on[name](...all);
  let response;
  try {
    response = await fetch(here("api/v1/events", { user_id: userId, channels: channels?.join(",") }), {
      headers: bearing(token, { accept: "text/event-stream", ...(ticket && { "last-event-id": ticket }) }),
      cache: "no-store",
      signal,
    });
  } catch {
    return told("refused", { status: 0 });
  }
  if (response.status === 204) return told("closed", { code: 1000, reason: "ended" });
  if (!response.ok || !/^text\/event-stream\b/i.test(response.headers.get("content-type") ?? "")) {
    const answer = await refusalOf(response);
    return told("refused", response.ok ? { ...answer, foreign: true } : answer);
  }
  told("opened");
  try {
    await listen(response.body, told);
  } catch {
    // As good as the end of the stream.
  }
  told("closed", { code: 1006, reason: "" });
}

async function listen(body, told) {
  const reader = new EventReader();
  const source = body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await source.read();
    if (done) return;
    told("heard");
    for (const { data, id } of reader.feed(value)) {
      const message = parsed(data);
      if (message) tellMessage(told, message);
      if (id) told("ticket", id);
    }
  }
}

/** A message of a transport without close codes of its own: its last one, `close`, has the code. */
export function tellMessage(told, message) {
  if (message.type !== "close") return told("message", message);
  const { code, reason, reconnect_in_ms: inMs } = message;
  told("closed", { code: Number(code) || 1006, reason: reason ?? "", inMs });
}
