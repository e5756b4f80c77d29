//! One session, pure: what waits to be sent, what it is subscribed to, who has which.

mod channels;
mod outbox;
mod replay;
mod users;

pub use channels::{Channel, Channels, Frames, Kind, Step, Subscription};
pub use outbox::{Answer, Label, Outbox};
pub use replay::{Bounds, Kept, NO_TICKET, Replay};
pub use users::Users;

/// Place of a session in its worker's table. Only valid together with the session's id: places are used again.
pub type Key = u32;

/// Place of a channel in its worker's table.
pub type ChannelKey = u16;
