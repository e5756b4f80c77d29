//! One session, pure: what a message means, what waits to be sent.
