// A session over long polling: a GET that is held while there is nothing, and the next one with the cursor of the last.

import { RULES } from "./rules.js";
import { here, refusalOf } from "./server.js";
import { bearing } from "./tokens.js";
import { tellMessage } from "./transport-sse.js";

const PATIENCE = 30_000; // for one answer
const SOON = 300; // an empty answer sooner than this ...
const PAUSE = 1_000; // ... is not followed by the next question at once

/** As transport-websocket.js tells. */
export function open(wanted, on) {
  const end = new AbortController();
  const told = (name, ...all) => end.signal.aborted || on[name](...all);
  run(wanted, told, end.signal);
  return { say: () => false, drop: () => end.abort(), close() {} };
}

async function run({ userId, channels, ticket, token, renewed }, told, signal) {
  let cursor = ticket;
  let opened = false;
  const begin = () => {
    if (!opened) told("opened");
    opened = true;
  };
  // A cursor that is still good, as after a quick reload, is answered with the next messages and not with a welcome.
  const goesOn = () => {
    if (!opened) begin(), told("continued");
  };
  for (;;) {
    const first = !opened;
    // The first is answered at once, whatever there is: a poll that is held may as well be lost.
    const wait = { wait_ms: first ? 0 : RULES.calm };
    const answer = await ask({ user_id: userId, ...(cursor ? { cursor } : { channels: channels?.join(",") }), ...wait }, first ? token : await renewed(), signal);
    if (signal.aborted) return;
    if (answer.ended) return told("closed", { code: 1000, reason: answer.ended });
    if (!answer.messages) return opened ? told("closed", { code: 1006, reason: "" }) : told("refused", answer);
    const welcomed = answer.messages.some(({ type }) => type === "welcome");
    if (welcomed) begin();
    else goesOn();
    told("heard");
    cursor = answer.cursor;
    for (const message of answer.messages) tellMessage(told, message);
    if (cursor) told("ticket", cursor);
    if (!first && answer.messages.length === 0 && answer.tookMs < SOON) await pause(signal);
    if (signal.aborted) return;
  }
}

async function ask(query, token, signal) {
  const from = performance.now();
  const own = new AbortController();
  const end = () => own.abort();
  const late = setTimeout(end, PATIENCE);
  signal.addEventListener("abort", end, { once: true });
  if (signal.aborted) end();
  try {
    const response = await fetch(here("api/v1/poll", query), { headers: bearing(token), cache: "no-store", signal: own.signal });
    if (response.status === 410) return { ended: (await refusalOf(response)).slug || "ended" };
    if (!response.ok) return await refusalOf(response);
    const body = await response.json().catch(() => null);
    if (!Array.isArray(body?.messages)) return { status: response.status, foreign: true };
    return { cursor: body.cursor, messages: body.messages.filter((m) => m !== null && typeof m === "object"), tookMs: performance.now() - from };
  } catch {
    return { status: 0 };
  } finally {
    clearTimeout(late);
    signal.removeEventListener("abort", end);
  }
}

function pause(signal) {
  return new Promise((done) => {
    setTimeout(done, PAUSE);
    signal.addEventListener("abort", done, { once: true });
  });
}
