// Values as words and numbers for people. Pure.

const NONE = "\u2013";

/** How long ago: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 04 min`, `3 d 4 h`. */
export function age(ms) {
  if (ms < 9_950) return `${(ms / 1_000).toFixed(1)} s`;
  return duration(Math.round(ms / 1_000));
}

/** Whole seconds as at most two units. */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return NONE;
  const s = Math.max(0, Math.floor(seconds));
  const two = (n) => String(n).padStart(2, "0");
  if (s < 60) return `${s} s`;
  if (s < 3_600) return `${Math.floor(s / 60)} min ${two(s % 60)} s`;
  if (s < 86_400) return `${Math.floor(s / 3_600)} h ${two(Math.floor((s % 3_600) / 60))} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3_600)} h`;
}

/** A round trip: a decimal below ten milliseconds. */
export function milliseconds(ms) {
  return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

/** Binary units, as the server's own words. */
export function bytes(n) {
  if (!Number.isFinite(n)) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const at = n < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(n) / 10));
  const value = n / 1_024 ** at;
  return `${at === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[at]}`;
}

/** A share of one core. */
export function percent(n) {
  return Number.isFinite(n) ? `${n.toFixed(1)} %` : NONE;
}

/** A number that may be missing. */
export function count(n) {
  return Number.isFinite(n) ? String(n) : NONE;
}

/** `1 tab`, `2 tabs`. */
export function many(n, one, more = `${one}s`) {
  return `${n} ${n === 1 ? one : more}`;
}

/** How many changes of its process a session has survived, and how long the last one kept it waiting, if that is known. */
export function survived(moves, silenceMs) {
  if (!(moves > 0)) return "no move or restart so far";
  const times = many(moves, "move or restart", "moves and restarts");
  if (!Number.isFinite(silenceMs)) return times;
  const silence = silenceMs < 1 ? "less than 1 ms" : silenceMs < 10_000 ? `${Math.round(silenceMs)} ms` : duration(silenceMs / 1_000);
  return `${times}; ${moves === 1 ? "" : "last "}silence ${silence}`;
}

/** What a price is quoted in: the second half of the pair. */
export function currency(pair) {
  return pair.slice(pair.indexOf("-") + 1);
}

/** The digits before the point in groups of three, for the eye only: joined they are the source's own text. */
export function groups(price) {
  const [whole, fraction] = price.split(".");
  const parts = whole.replace(/\B(?=(\d{3})+$)/g, " ").split(" ");
  if (fraction !== undefined) parts.push(`${parts.pop()}.${fraction}`);
  return parts;
}

/** A price as what carries information and the zeros behind it: two decimals stay. Joined they are the same text. */
export function significant(price) {
  const [, told, zeros] = /^(\d+\.\d\d\d*?)(0+)$/.exec(price) ?? [null, price, ""];
  return [told, zeros];
}

const VERDICTS = { agrees: "agrees", deviates: "deviates", stale: "stale", "other-pair": "other pair", none: "no price" };

/** What the server thinks of a source's price; a word that is not known is shown as it is. */
export function opinion(verdict) {
  return Object.hasOwn(VERDICTS, verdict) ? VERDICTS[verdict] : String(verdict ?? NONE);
}

const CLOSES = {
  1000: "The server ended this session.",
  1001: "The server is stopping.",
  1002: "The server found a protocol error in what this page sent.",
  1003: "The server does not take what this page sent.",
  1006: "The connection was cut.",
  1007: "The server found text that is not UTF-8.",
  1008: "The server refused this session for its policy.",
  1009: "The server found a message of this page too big.",
  1011: "The server had an internal error.",
  1012: "The worker is being replaced as planned.",
  1013: "The server has too much to do.",
  4001: "The token was not accepted.",
  4002: "The token has expired.",
  4003: "This session is not allowed.",
  4004: "There are too many sessions already.",
  4005: "This session was taken over elsewhere.",
  4006: "An administrator disconnected this session.",
  4101: "This page sent too many messages.",
  4102: "This page was too slow to take its messages.",
  4200: "The worker of this session went away.",
  4201: "The server had no sign of life from this page.",
};

const KINDS = {
  unreachable: "The server cannot be reached.",
  failed: "The connection could not be opened.",
  blocked: "The connection could not be opened: WebSockets may not get through from here.",
  foreign: "Something between here and the server answered in its place.",
  address: "The WebSocket address of this server cannot be reached from here.",
  silent: "Nothing was heard from the server any more.",
  "no-welcome": "The server took the connection and then said nothing.",
};

/** Why there is no token to open with; the server's last word on tokens says more. */
const TOKENS = {
  "token-late": "This site did not say in time who you are.",
  "token-failed": "This site could not say who you are.",
  "token-broken": "What this site gave for a token is none.",
  "token-same": "This site still gives the token that was refused.",
};

const SLUGS = {
  "token-missing": "You are not signed in: this server wants a token.",
  "token-expired": "Your token has expired.",
  "token-revoked": "Your token was revoked.",
  "token-invalid": "Your token is not accepted by this server.",
};

const STATUSES = {
  400: "The server did not understand the request.",
  401: "The server wants a token.",
  403: "The server does not allow this.",
  404: "The server does not know this address.",
  413: "The request was too big.",
  429: "A limit of the server is reached.",
  503: "The server cannot do this now.",
  504: "The server had no answer in time.",
};

/** Why there is no session, from the `why` of session.js: a sentence and, where there is one, the server's word. */
export function why(reason) {
  if (!reason) return "";
  if (Object.hasOwn(TOKENS, reason.kind)) return [SLUGS[reason.slug], TOKENS[reason.kind]].filter(Boolean).join(" ");
  if (reason.kind) return KINDS[reason.kind];
  if (reason.status) return refusal(reason);
  const text = SLUGS[reason.slug] ?? CLOSES[reason.code] ?? "The server closed the connection.";
  return `${text} (${[reason.slug, reason.code].filter(Boolean).join(", ")})`;
}

/** A refusal over HTTP: the server's own detail before ours. */
export function refusal({ status, slug, detail }) {
  const text = SLUGS[slug] ?? (detail ? sentence(detail) : (STATUSES[status] ?? "The server refused."));
  return `${text} (${[slug, status].filter(Boolean).join(", ")})`;
}

function sentence(text) {
  const trimmed = text.trim();
  const capital = trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?]$/.test(capital) ? capital : `${capital}.`;
}
