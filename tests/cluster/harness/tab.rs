//! A browser's tab: one session over a WebSocket, with the words of the tests.

use super::http::{Connection, Request, Response, upgrade};
use super::in_time;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// An item that a tab hears.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Heard {
    /// A text of JSON.
    Message(Value),
    /// A text that is none.
    Text(String),
    Binary(Vec<u8>),
    /// The code and the reason; 1006 when there was no close frame, 1005 when it was empty.
    Closed(u16, String),
}

/// A session over a WebSocket.
#[derive(Debug)]
pub(crate) struct Tab {
    socket: WebSocketStream<TcpStream>,
    /// The first message.
    pub(crate) welcome: Value,
}

impl Tab {
    /// Opens a session at a path, and hears its welcome where it is one on `/ws`.
    pub(crate) async fn open(to: SocketAddr, path: &str) -> Result<Self, Response> {
        Self::open_as(to, &upgrade(path)).await
    }

    /// [`Tab::open`] with a request of its own.
    pub(crate) async fn open_as(to: SocketAddr, request: &Request) -> Result<Self, Response> {
        let connection = in_time("connect", Connection::open(to)).await.expect("a connection");
        Self::over(connection, request).await
    }

    /// [`Tab::open`] over a connection that is there already.
    pub(crate) async fn over(mut connection: Connection, request: &Request) -> Result<Self, Response> {
        let response = connection.ask(request).await;
        if response.status != 101 {
            return Err(response);
        }
        assert_eq!(response.header("Upgrade").map(str::to_lowercase).as_deref(), Some("websocket"));
        let accept = derive_accept_key(b"dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(response.header("Sec-WebSocket-Accept"), Some(accept.as_str()));
        Ok(Self::after(connection).await)
    }

    /// A tab on a connection that has got its 101.
    pub(super) async fn after(connection: Connection) -> Self {
        let (stream, rest) = connection.into_parts();
        let socket = WebSocketStream::from_partially_read(stream, rest, Role::Client, None).await;
        Self { socket, welcome: Value::Null }
    }

    /// Hears the welcome, where the server lives to say it.
    pub(super) async fn try_greeted(mut self) -> Option<Self> {
        match self.hear().await {
            Heard::Message(welcome) if welcome["type"] == "welcome" => {
                self.welcome = welcome;
                Some(self)
            }
            Heard::Closed(..) => None,
            other => panic!("no welcome but {other:?}"),
        }
    }

    /// Hears the welcome, which must be first.
    pub(crate) async fn greeted(mut self) -> Self {
        self.welcome = self.message().await;
        assert_eq!(self.welcome["type"], "welcome", "{}", self.welcome);
        self
    }

    /// Its worker's place.
    pub(crate) fn worker(&self) -> u64 {
        self.welcome["worker"]["id"].as_u64().expect("a worker's id")
    }

    /// Its worker's process.
    pub(crate) fn pid(&self) -> u32 {
        u32::try_from(self.welcome["worker"]["pid"].as_u64().expect("a pid")).unwrap()
    }

    /// Its session's id.
    pub(crate) fn session(&self) -> &str {
        self.welcome["session_id"].as_str().expect("a session id")
    }

    /// Whatever comes next; pings are answered on the way.
    pub(crate) async fn hear(&mut self) -> Heard {
        in_time("the tab hears something", self.hear_ever()).await
    }

    /// [`Tab::hear`] without an end to its patience.
    pub(crate) async fn hear_ever(&mut self) -> Heard {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    return match serde_json::from_str(&text) {
                        Ok(value) => Heard::Message(value),
                        Err(_) => Heard::Text(text.to_string()),
                    };
                }
                Some(Ok(Message::Binary(bytes))) => return Heard::Binary(bytes.to_vec()),
                Some(Ok(Message::Close(None))) => return Heard::Closed(1005, String::new()),
                Some(Ok(Message::Close(Some(close)))) => {
                    return Heard::Closed(close.code.into(), close.reason.to_string());
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Heard::Closed(1006, String::new()),
            }
        }
    }

    /// The next text, byte by byte.
    pub(crate) async fn text(&mut self) -> String {
        let next = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Text(text))) => return text.to_string(),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    other => panic!("no text but {other:?}"),
                }
            }
        };
        in_time("the tab hears a text", next).await
    }

    /// The next message of any type.
    pub(crate) async fn message(&mut self) -> Value {
        match self.hear().await {
            Heard::Message(value) => value,
            other => panic!("no message but {other:?}"),
        }
    }

    /// The next message of this type, whatever comes before it.
    pub(crate) async fn next(&mut self, kind: &str) -> Value {
        let search = async {
            loop {
                match self.hear_ever().await {
                    Heard::Message(value) if value["type"] == kind => return value,
                    Heard::Message(_) => {}
                    other => panic!("no {kind} but {other:?}"),
                }
            }
        };
        in_time(&format!("a message of type {kind}"), search).await
    }

    /// The next answer to a POST.
    pub(crate) async fn quote(&mut self) -> Value {
        self.next("quote").await
    }

    /// Sends a text.
    pub(crate) async fn say_text(&mut self, text: impl Into<String>) {
        let text: String = text.into();
        in_time("the tab speaks", self.socket.send(Message::text(text))).await.expect("the tab is open");
    }

    /// Sends a message.
    pub(crate) async fn say(&mut self, message: &Value) {
        self.say_text(message.to_string()).await;
    }

    /// Says several things in one write.
    pub(crate) async fn say_at_once(&mut self, messages: &[Value]) {
        for message in messages {
            let message = Message::text(message.to_string());
            in_time("the tab speaks", self.socket.feed(message)).await.expect("the tab is open");
        }
        in_time("the tab speaks", self.socket.flush()).await.expect("the tab is open");
    }

    /// Sends anything.
    pub(crate) async fn send(&mut self, message: Message) {
        in_time("the tab speaks", self.socket.send(message)).await.expect("the tab is open");
    }

    /// Sends a message and waits for the one of this type.
    pub(crate) async fn ask(&mut self, message: &Value, kind: &str) -> Value {
        self.say(message).await;
        self.next(kind).await
    }

    /// All messages that were on their way before the server answers a ping of ours. That it answers shows that the
    /// session lives.
    pub(crate) async fn until_pong(&mut self) -> Vec<Value> {
        let id = format!("barrier-{}", fastrand::u32(..));
        self.say(&json!({ "type": "ping", "id": id })).await;
        let mut before = vec![];
        loop {
            let message = self.message().await;
            if message["type"] == "pong" && message["id"] == *id {
                return before;
            }
            before.push(message);
        }
    }

    /// Waits for the close, ignoring messages before it.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        self.farewell().await.1
    }

    /// Waits for the close; returns the messages before it, too.
    pub(crate) async fn farewell(&mut self) -> (Vec<Value>, (u16, String)) {
        let listen = async {
            let mut said = vec![];
            loop {
                match self.hear_ever().await {
                    Heard::Message(value) => said.push(value),
                    Heard::Closed(code, reason) => return (said, (code, reason)),
                    other => panic!("neither message nor end but {other:?}"),
                }
            }
        };
        in_time("the session ends", listen).await
    }

    /// Closes like a browser that leaves the page, and hears the echo.
    pub(crate) async fn leave(mut self) {
        in_time("close", self.socket.close(None)).await.expect("the tab is open");
        let (code, _) = self.closed().await;
        assert_ne!(code, 1006, "a close is answered by a close");
    }
}
