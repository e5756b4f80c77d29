//! What a listening socket is for.

use serde::{Deserialize, Serialize};

/// The purpose of a listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Port {
    /// The page, REST, and WebSockets.
    Http,
    Ws,
    /// Admin routes without a token.
    Admin,
}

/// What a listening socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Door {
    pub port: Port,
    /// Clients begin with a handshake of TLS.
    pub tls: bool,
}

impl Door {
    /// All there are.
    pub const ALL: [Self; 6] = [
        Self { port: Port::Http, tls: false },
        Self { port: Port::Ws, tls: false },
        Self { port: Port::Admin, tls: false },
        Self { port: Port::Http, tls: true },
        Self { port: Port::Ws, tls: true },
        Self { port: Port::Admin, tls: true },
    ];

    /// Its name among passed and kept descriptors.
    #[must_use]
    pub fn word(self) -> &'static str {
        match (self.port, self.tls) {
            (Port::Http, false) => "http",
            (Port::Ws, false) => "ws",
            (Port::Admin, false) => "admin",
            (Port::Http, true) => "http-tls",
            (Port::Ws, true) => "ws-tls",
            (Port::Admin, true) => "admin-tls",
        }
    }

    /// The door of that name.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|door| door.word() == word)
    }
}

impl From<Port> for Door {
    fn from(port: Port) -> Self {
        Self { port, tls: false }
    }
}
