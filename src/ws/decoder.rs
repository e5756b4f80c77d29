//! Decodes a client's bytes.

use super::header::{Header, Opcode, Start};
use super::message::Message;
use super::{Violation, close, mask};
use serde::{Deserialize, Serialize};
use std::mem::take;

/// A client's stream of frames. Sixteen bytes between messages; what an unfinished frame or message needs is on
/// the heap for as long as it is unfinished. A value: it can go on in another process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decoder {
    pending: Option<Box<Pending>>,
    /// A close frame or a violation was seen: nothing is read any more, and nothing is held.
    ended: bool,
}

/// The state of what one read could not finish.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Pending {
    /// The beginning of a frame whose header is incomplete.
    start: Start,
    /// The frame whose payload is incomplete.
    frame: Option<Frame>,
    /// The payload so far, if it is a control frame.
    control: Vec<u8>,
    /// The message that the frame belongs to, or that waits for its next fragment.
    message: Option<Message>,
}

/// A frame whose payload is incomplete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Frame {
    fin: bool,
    opcode: Opcode,
    /// The mask, turned for the next byte of the payload.
    key: [u8; 4],
    missing: usize,
}

/// Input from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole text message.
    Text(&'a str),
    /// A whole binary message.
    Binary(&'a [u8]),
    /// A ping, to be answered by a pong with the same payload of at most 125 bytes.
    Ping(&'a [u8]),
    /// An answer to a ping, or an unsolicited sign of life.
    Pong(&'a [u8]),
    /// A close frame with its code and reason, if any. To be answered by a close frame.
    Close(Option<(u16, &'a str)>),
}

impl Decoder {
    /// A decoder at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the stream, unmasks them in place and decodes them: see [`Events`]. `max_message` is the
    /// longest message in bytes.
    pub fn feed<'d, 'i>(&'d mut self, input: &'i mut [u8], max_message: usize) -> Events<'d, 'i> {
        Events { decoder: self, input, max_message, gathered: Vec::new() }
    }

    /// Whether no part of a frame or message is held and the stream has not ended: the next byte begins a message.
    pub fn is_idle(&self) -> bool {
        self.pending.is_none() && !self.ended
    }

    /// Bytes of memory that the unfinished frame or message occupies; zero between messages.
    #[cfg(any(test, fuzzing))]
    pub fn held(&self) -> usize {
        self.pending.as_deref().map_or(0, Pending::held)
    }

    /// Whether feeding bytes can have led here; a decoder that comes from elsewhere may be any.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.pending.as_deref().is_none_or(|pending| !self.ended && pending.is_sound())
    }

    /// Memory for what this read does not finish.
    fn within(&mut self) -> &mut Pending {
        self.pending.get_or_insert_default()
    }

    /// Frees the memory if nothing is unfinished.
    fn settle(&mut self) {
        if self.pending.as_deref().is_some_and(Pending::is_empty) {
            self.pending = None;
        }
    }

    fn end(&mut self) {
        *self = Self { pending: None, ended: true };
    }

    /// Checks a header against the frames before it (RFC 6455, section 5.4) and against the limits.
    fn admit(&self, header: &Header, max_message: usize) -> Result<(), Violation> {
        let message = self.pending.as_deref().and_then(|pending| pending.message.as_ref());
        match (header.opcode, message) {
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => return Ok(()),
            (Opcode::Continuation, None) => return Err(Violation::NothingToContinue),
            (Opcode::Text | Opcode::Binary, Some(_)) => return Err(Violation::Interleaved),
            (Opcode::Continuation, Some(message)) => {
                if message.continuations() >= max_continuations(max_message) {
                    return Err(Violation::TooManyFragments);
                }
            }
            (Opcode::Text | Opcode::Binary, None) => {}
        }
        let claimed = header.length.saturating_add(message.map_or(0, Message::len) as u64);
        if claimed > max_message as u64 { Err(Violation::TooBig) } else { Ok(()) }
    }
}

/// Limit of continuations: one for every 64 bytes of the longest message, which is how small the conformance suite
/// cuts them, and at least 1024. Empty fragments cost no memory but time, so they are limited.
fn max_continuations(max_message: usize) -> usize {
    (max_message / 64).max(1024)
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.start.bytes().is_empty() && self.frame.is_none() && self.message.is_none()
    }

    fn is_sound(&self) -> bool {
        let fits = |frame: &Frame| match frame.opcode {
            Opcode::Close | Opcode::Ping | Opcode::Pong => {
                self.control.len().checked_add(frame.missing).is_some_and(|length| length <= 125)
            }
            Opcode::Continuation | Opcode::Text | Opcode::Binary => self.message.is_some(),
        };
        let starts = self.start.bytes();
        let one = starts.is_empty() || self.frame.is_none();
        let header = Header::read(starts).is_ok_and(|header| header.is_none_or(|h| h.mask(starts).is_none()));
        let message = self.message.as_ref().is_none_or(Message::is_sound);
        !self.is_empty() && one && header && message && self.frame.as_ref().is_none_or(fits)
    }

    #[cfg(any(test, fuzzing))]
    fn held(&self) -> usize {
        size_of::<Self>() + self.control.capacity() + self.message.as_ref().map_or(0, Message::capacity)
    }

    /// Begins a frame whose header was admitted.
    fn open(&mut self, frame: Frame) {
        match frame.opcode {
            Opcode::Text | Opcode::Binary => self.message = Some(Message::new(frame.opcode)),
            Opcode::Continuation => {
                if let Some(message) = &mut self.message {
                    message.continues();
                }
            }
            Opcode::Close | Opcode::Ping | Opcode::Pong => self.control = Vec::with_capacity(frame.missing),
        }
        self.frame = Some(frame);
    }

    /// Takes the open frame's bytes from the input; `None` if the frame, or its message, is incomplete.
    fn receive(
        &mut self,
        mut frame: Frame,
        input: &mut &mut [u8],
        max_message: usize,
    ) -> Result<Option<(Opcode, Vec<u8>)>, Violation> {
        let bytes = input.split_off_mut(..frame.missing.min(input.len())).unwrap_or_default();
        mask::apply(bytes, frame.key);
        if frame.opcode.is_control() {
            self.control.extend_from_slice(bytes);
        } else if let Some(message) = &mut self.message {
            let ceiling = if frame.fin { message.len().saturating_add(frame.missing) } else { max_message };
            message.append(bytes, ceiling)?;
        }
        frame.key = mask::advanced(frame.key, bytes.len());
        frame.missing -= bytes.len();
        if frame.missing > 0 {
            self.frame = Some(frame);
            return Ok(None);
        }
        self.frame = None;
        if frame.opcode.is_control() {
            return Ok(Some((frame.opcode, take(&mut self.control))));
        }
        Ok(if frame.fin { self.message.take().map(Message::finish) } else { None })
    }
}

/// The events in the bytes given to [`Decoder::feed`], one at a time: call [`Events::next`] until it returns `None`. An
/// event borrows from the input if its frame lies there as a whole, else from a buffer that lives as long as this.
/// After a close frame or a violation nothing more is read.
#[must_use = "bytes that are not read to their end are lost"]
#[derive(Debug)]
pub struct Events<'d, 'i> {
    decoder: &'d mut Decoder,
    /// The bytes not read yet.
    input: &'i mut [u8],
    max_message: usize,
    /// The last event's payload, if it came in parts.
    gathered: Vec<u8>,
}

/// A complete payload.
enum Whole<'i> {
    /// In the input.
    Here(Opcode, &'i [u8]),
    /// In [`Events::gathered`].
    Gathered(Opcode),
}

impl<'i> Events<'_, 'i> {
    /// The next event; `None` at the end of the input.
    ///
    /// # Errors
    /// The client broke a rule: nothing more comes, and the connection must be failed with the violation's code.
    pub fn next(&mut self) -> Option<Result<Event<'_>, Violation>> {
        if self.decoder.ended {
            return None;
        }
        let whole = self.whole();
        self.decoder.settle();
        let event = match whole {
            Ok(None) => return None,
            Ok(Some(Whole::Here(opcode, payload))) => event(opcode, payload),
            Ok(Some(Whole::Gathered(opcode))) => event(opcode, &self.gathered),
            Err(violation) => Err(violation),
        };
        if matches!(event, Err(_) | Ok(Event::Close(_))) {
            self.decoder.end();
        }
        Some(event)
    }

    /// The bytes not read yet, as they came.
    #[cfg(test)]
    pub fn unread(&self) -> &[u8] {
        self.input
    }

    fn whole(&mut self) -> Result<Option<Whole<'i>>, Violation> {
        loop {
            if let Some(pending) = self.decoder.pending.as_deref_mut()
                && let Some(frame) = pending.frame
            {
                if let Some((opcode, payload)) = pending.receive(frame, &mut self.input, self.max_message)? {
                    self.gathered = payload;
                    return Ok(Some(Whole::Gathered(opcode)));
                }
                if pending.frame.is_some() {
                    return Ok(None);
                }
            }
            let Some((header, key)) = self.header()? else { return Ok(None) };
            let Header { fin, opcode, length, .. } = header;
            let missing = usize::try_from(length).map_err(|_| Violation::TooBig)?;
            if fin && opcode != Opcode::Continuation && missing <= self.input.len() {
                let payload = self.input.split_off_mut(..missing).unwrap_or_default();
                mask::apply(payload, key);
                return Ok(Some(Whole::Here(opcode, payload)));
            }
            self.decoder.within().open(Frame { fin, opcode, key, missing });
        }
    }

    /// The next header, if it is complete; else keeps its beginning.
    fn header(&mut self) -> Result<Option<(Header, [u8; 4])>, Violation> {
        let mut start =
            self.decoder.pending.as_deref_mut().map(|pending| take(&mut pending.start)).unwrap_or_default();
        let before = start.bytes().len();
        start.fill(self.input);
        if let Some(header) = Header::read(start.bytes())? {
            self.decoder.admit(&header, self.max_message)?;
            if let Some((key, end)) = header.mask(start.bytes()) {
                self.input = take(&mut self.input).split_at_mut(end - before).1;
                return Ok(Some((header, key)));
            }
        }
        if !start.bytes().is_empty() {
            self.decoder.within().start = start;
        }
        self.input = &mut [];
        Ok(None)
    }
}

fn event(opcode: Opcode, payload: &[u8]) -> Result<Event<'_>, Violation> {
    Ok(match opcode {
        Opcode::Text => Event::Text(str::from_utf8(payload).map_err(|_| Violation::NotUtf8)?),
        // A continuation is never a whole message: its message has the opcode of the first frame.
        Opcode::Binary | Opcode::Continuation => Event::Binary(payload),
        Opcode::Ping => Event::Ping(payload),
        Opcode::Pong => Event::Pong(payload),
        Opcode::Close => Event::Close(close::read(payload)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_frame_of_any_claimed_length_is_judged() {
        for (missing, is_sound) in [(124, true), (125, false), (usize::MAX, false)] {
            let frame = Frame { fin: true, opcode: Opcode::Ping, key: [0; 4], missing };
            let pending = Pending { frame: Some(frame), control: vec![0], ..Pending::default() };
            assert_eq!(pending.is_sound(), is_sound, "{missing}");
        }
    }
}
