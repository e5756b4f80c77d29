//! One session, pure: what waits to be sent, what it is subscribed to, who has which.

mod channels;
mod outbox;
mod users;

pub use channels::{Channel, Channels, Kind, Step, Subscription};
pub use outbox::{Answer, Outbox};
pub use users::Users;

/// Place of a session in its worker's table. Only valid together with the session's id: places are used again.
pub type Key = u32;

/// Place of a channel in its worker's table.
pub type ChannelKey = u16;
