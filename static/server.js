// Where the server is, and how it says no. Nothing here keeps anything.

import { bearing, tokens } from "./tokens.js";

/** A URL of this server, wherever its page is mounted. */
export function here(path, query = {}) {
  const url = new URL(path, new URL(".", location.href));
  for (const [key, value] of Object.entries(query)) if (value !== null && value !== undefined) url.searchParams.set(key, value);
  return url;
}

/**
 * The WebSocket of a path: beside `wsUrl`, which the server's info names for `ws`, or at the page's own origin. Entries
 * of `query` that are null are left out.
 */
export function socketUrl(path, query, wsUrl) {
  const url = wsUrl ? new URL(wsUrl.replace("{host}", location.hostname)) : here("ws");
  if (path !== "ws") url.pathname = url.pathname.replace(/[^/]*$/, path);
  url.protocol = url.protocol === "https:" || url.protocol === "wss:" ? "wss:" : "ws:";
  url.hash = "";
  for (const [key, value] of Object.entries(query)) if (value !== null && value !== undefined) url.searchParams.set(key, value);
  return url;
}

/**
 * Browsers hide why an upgrade failed; a plain GET of the same path on our own origin tells, with the same token. Answers
 * as `refusalOf`; `{status: 0}` when nobody answers.
 */
export async function reasonOf(path, query, token = null) {
  try {
    const headers = bearing(token);
    return await refusalOf(await fetch(here(path, query), { headers, cache: "no-store", signal: AbortSignal.timeout(5_000) }));
  } catch {
    return { status: 0 };
  }
}

/** A fetch that shows who asks. Without a token that can be had it is for the server to refuse it. */
export async function send(url, init = {}) {
  const { token } = await tokens.fresh();
  return fetch(url, { ...init, headers: bearing(token, init.headers) });
}

/** `{ok, quote}`: whether the server answers within so many milliseconds, and the default symbol's price or null. */
export async function newestPrice(patience) {
  try {
    const response = await send(here("api/v1/price"), { cache: "no-store", signal: AbortSignal.timeout(patience) });
    const body = await response.text();
    return { ok: true, quote: response.ok ? parsed(body) : null };
  } catch {
    return { ok: false, quote: null };
  }
}

/** A message, or null where a text is none. */
export function parsed(text) {
  try {
    const message = JSON.parse(text);
    return message !== null && typeof message === "object" ? message : null;
  } catch {
    return null;
  }
}

/**
 * A response that is no success: `{status, slug, detail, retryAfterMs, foreign}`. It is `foreign` when it is none of
 * this server's own refusals, which all are problem+json: then somebody on the way has answered.
 */
export async function refusalOf(response) {
  const kind = response.headers.get("content-type") ?? "";
  const foreign = !/^application\/problem\+json\b/i.test(kind);
  return { status: response.status, retryAfterMs: retryAfter(response), foreign, ...(await problemOf(response)) };
}

/** `Retry-After` in milliseconds, 0 where there is none. */
export function retryAfter(response) {
  const seconds = Number(response.headers.get("retry-after"));
  return Number.isFinite(seconds) && seconds > 0 ? seconds * 1_000 : 0;
}

/** The slug and the words of a refusal, as far as it is problem+json. */
export async function problemOf(response) {
  if (response.ok) return {};
  try {
    const { type, title, detail } = await response.json();
    const slug = typeof type === "string" ? type.split(/[/:#]/).pop() : "";
    return { slug: slug === "blank" ? "" : slug, detail: detail || title || "" };
  } catch {
    return { slug: "", detail: "" };
  }
}
