//! A session's bytes over TLS, as exact as over a bare socket: what counts as written is in the kernel whole, what is
//! not is asked for again, and what the client's kernel has acknowledged is known in the session's own bytes. Without
//! input or output of its own: the socket is an argument.

use rustls::ServerConnection;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};

/// Most bytes of one record (RFC 8446, section 5.1).
const RECORD: usize = 16 << 10;
/// Records of which the end is remembered: more than are on their way to a client that reads.
const MARKS: usize = 32;
/// Reads in a row that bring no data: key updates and empty records of a client must not hold up others.
const BARREN: usize = 4;

/// The TLS side of a connection whose handshake is over.
pub struct Secured {
    tls: Box<ServerConnection>,
    /// The last byte of a record that the kernel has not taken whole was not counted: it comes again with the next write,
    /// and is left out.
    owed: bool,
    /// A read has filled its buffer: there may be more.
    more: bool,
    /// Bytes of the session that were counted as written.
    sent: u64,
    marks: Marks,
}

impl fmt::Debug for Secured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secured")
            .field("owed", &self.owed)
            .field("marks", &self.marks)
            .finish_non_exhaustive()
    }
}

impl Secured {
    /// Goes on after the handshake, and whatever was said since.
    #[must_use]
    pub fn new(tls: Box<ServerConnection>) -> Self {
        // Something may have been read with the rest of what came before.
        Self { tls, owed: false, more: true, sent: 0, marks: Marks::default() }
    }

    /// Writes without waiting. A piece of at least two bytes, a frame, has all of its bytes counted when the kernel has
    /// all of it, and some as soon as it cannot be taken back. What was not counted is to come again first.
    ///
    /// # Errors
    /// As `write(2)`; `WouldBlock`: nothing was counted.
    pub fn write(&mut self, socket: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
        let result = self.write_records(socket, bytes);
        self.sent += *result.as_ref().unwrap_or(&0) as u64;
        result
    }

    fn write_records(&mut self, socket: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
        self.flush(socket)?;
        if bytes.is_empty() {
            return Ok(0);
        }
        let mut counted = usize::from(std::mem::take(&mut self.owed));
        while counted < bytes.len() {
            let record = &bytes[counted..bytes.len().min(counted + RECORD)];
            // Nothing waits inside, so all of it has room.
            self.tls.writer().write_all(record)?;
            let result = self.flush_record(socket, record.len());
            counted += record.len();
            match result {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.owed = true;
                    counted -= 1;
                    return if counted > 0 { Ok(counted) } else { Err(error) };
                }
                Err(error) => return Err(error),
            }
        }
        Ok(counted)
    }

    /// Hands a record to the kernel, and remembers where it ends.
    fn flush_record(&mut self, socket: &mut impl Write, length: usize) -> io::Result<()> {
        let result = self.flush(socket);
        let waits = match &result {
            Ok(()) => 0,
            // rustls tells the size of what waits only with its state, which no packet is needed for.
            Err(_) => self.tls.process_new_packets().map_or(0, |state| state.tls_bytes_to_write()),
        };
        self.marks.add(self.marks.sent + waits as u64, length as u64);
        result
    }

    /// Writes what waits inside: the rest of a record, or what TLS itself has to say.
    ///
    /// # Errors
    /// As `write(2)`; `WouldBlock`: some of it still waits.
    pub fn flush(&mut self, socket: &mut impl Write) -> io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(socket) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => self.marks.sent += n as u64,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether something waits inside for room in the kernel.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.tls.wants_write()
    }

    /// Whether there may be something to read although the socket has nothing.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.more
    }

    /// Reads without waiting; 0: the client has said all, with or without TLS's own end.
    ///
    /// # Errors
    /// As `read(2)`; `InvalidData`: what came is not of this client; `WouldBlock`: there is nothing now.
    pub fn read(&mut self, socket: &mut (impl Read + Write), buffer: &mut [u8]) -> io::Result<usize> {
        for _ in 0..BARREN {
            match self.tls.reader().read(buffer) {
                Ok(n) => {
                    self.more = n > 0 && n == buffer.len();
                    return Ok(n);
                }
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.more = false,
                Err(error) => return Err(error),
            }
            self.tls.read_tls(socket)?;
            let state = self.tls.process_new_packets();
            // An alert, or the answer to a change of keys. If there is no room, it goes before the next record.
            let flushed = self.flush(socket);
            state.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            match flushed {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
        Err(ErrorKind::WouldBlock.into())
    }

    /// Says that nothing follows. What does not leave at once leaves with [`Secured::flush`].
    ///
    /// # Errors
    /// As [`Secured::flush`].
    pub fn close(&mut self, socket: &mut impl Write) -> io::Result<()> {
        self.tls.send_close_notify();
        self.flush(socket)
    }

    /// The session's bytes that the client's kernel has acknowledged, if so many bytes of the socket are not.
    #[must_use]
    pub fn acknowledged(&self, unacknowledged: u64) -> u64 {
        self.marks.acknowledged(unacknowledged).min(self.sent)
    }

    /// The session's bytes that were counted as written.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }
}

/// Ends of records: in bytes of the socket, and of the session.
#[derive(Debug, Default)]
struct Marks {
    /// The last of those that are forgotten.
    before: (u64, u64),
    marks: VecDeque<(u64, u64)>,
    /// Bytes that the kernel has taken.
    sent: u64,
}

impl Marks {
    /// A record of `length` bytes of the session ends at `end` of the socket.
    fn add(&mut self, end: u64, length: u64) {
        let said = self.marks.back().map_or(self.before.1, |(_, said)| *said);
        if self.marks.len() == MARKS
            && let Some(oldest) = self.marks.pop_front()
        {
            self.before = oldest;
        }
        self.marks.push_back((end, said + length));
    }

    fn acknowledged(&self, unacknowledged: u64) -> u64 {
        let heard = self.sent.saturating_sub(unacknowledged);
        let last = self.marks.iter().take_while(|(end, _)| *end <= heard).last();
        let (end, said) = *last.unwrap_or(&self.before);
        // Past what is remembered: a byte of the session is at least one of the socket.
        said.saturating_sub(end.saturating_sub(heard))
    }
}

#[cfg(test)]
#[path = "secured_tests.rs"]
mod tests;
