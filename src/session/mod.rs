//! A session as a value, and the channels and users of a worker. Pure.

pub mod cells;
mod channels;
mod framing;
mod octets;
mod outbox;
mod pack;
mod replay;
mod snapshot;
mod users;
mod value;

pub use channels::{Channel, Channels, Frames, Kind, Step, Subscription};
pub use framing::{Body, Framing};
pub use outbox::{Answer, Label, Outbox};
pub use pack::{Pack, Packed, Packing};
pub use replay::{Bounds, Kept, Replay};
pub use snapshot::{Connection, More, Notice, Snapshot};
pub use users::Users;
pub use value::{Identity, Origin, Places, Session};

/// Place of a session in its worker's table. Only valid together with the session's id: places are used again.
pub type Key = u32;

/// Place of a channel in its worker's table.
pub type ChannelKey = u16;
