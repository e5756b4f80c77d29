// A session over a WebSocket: the one transport over which it can also speak.
//
// Every transport has `open(wanted, on)`: `wanted` is {userId, channels, ticket, wsUrl, token, renewed}, where
// `channels` is a list or null (the server's default), `ticket` what it comes back with, or null, `token` who it is, or null,
// and `renewed()` the token of later requests. It tells
//   on.opened()                    the server took the connection; a welcome should follow
//   on.heard()                     a sign of life that may be no message
//   on.message(message)            one message
//   on.ticket(ticket)              what to come back with after all messages so far, where the server itself says it
//   on.refused(answer)             it was not opened; an answer of server.js. A WebSocket never knows, and says `closed`
//   on.continued()                 it goes on without a welcome (long polling alone)
//   on.closed({code, reason, inMs}) it has ended, with the close code, over whatever transport
// and answers `{say(text), drop(clean), close()}`. After `drop` nothing is told any more; it is `clean` when nobody comes
// back to the session. `close` lets go of what a drop has left open.

import { parsed, socketUrl } from "./server.js";

export const SUBPROTOCOL = "btc-cluster.v1.json";

/**
 * Subprotocols with which a token is shown, none without one: a browser can send no header here. The token is not echoed,
 * and a browser that is answered none of what it offers closes the connection, so the session's own stands beside it.
 */
export function bearer(token) {
  return token ? [SUBPROTOCOL, `bearer.${token}`] : [];
}

export function open({ userId, channels, ticket, wsUrl, token }, on) {
  const query = { user_id: userId, channels: channels?.join(",") ?? null, resume: ticket };
  let socket;
  try {
    socket = new WebSocket(socketUrl("ws", query, wsUrl), token ? bearer(token) : [SUBPROTOCOL]);
  } catch {
    // Not a URL, or ws: from an https: page. As good as a refused connection, and told after this step.
    let told = on;
    queueMicrotask(() => told?.closed({ code: 1006, reason: "" }));
    return { say: () => false, drop: () => (told = null), close() {} };
  }
  socket.onopen = () => on.opened();
  socket.onmessage = ({ data }) => {
    on.heard();
    const message = parsed(data);
    if (message) on.message(message);
  };
  socket.onclose = ({ code, reason }) => on.closed({ code, reason });
  return {
    say(text) {
      if (socket.readyState !== WebSocket.OPEN) return false;
      socket.send(text);
      return true;
    },
    // Forgotten at once: the close handshake with a dead server takes the browser minutes. To come back one must not say
    // good-bye, and a script has no other close code than such: an open one is left as it is. The server closes it when
    // the session is taken over, and the browser, with 1001, when the page goes away.
    drop(clean) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      if (clean) socket.close(1000);
      else if (socket.readyState === WebSocket.CONNECTING) socket.close();
    },
    close: () => socket.close(),
  };
}
