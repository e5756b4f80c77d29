//! Random histories: any messages, cut anywhere, and any bytes at all.

use super::client::{FIN, Heard, frame, hear};
use super::{Decoder, frame as server};
use proptest::prelude::*;
use proptest::sample::Index;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket};

const MAX: usize = 2000;
/// Memory that a decoder may hold beyond its message: an unfinished header, a control frame, some fields.
const CONSTANT: usize = 320;

/// A message, where it is cut into fragments, and the pings and pongs between them.
#[derive(Clone, Debug)]
struct Sent {
    message: Heard,
    cuts: Vec<(Index, Option<Heard>)>,
}

fn control() -> impl Strategy<Value = Heard> {
    let payload = prop::collection::vec(any::<u8>(), 0..=125);
    (any::<bool>(), payload)
        .prop_map(|(ping, payload)| if ping { Heard::Ping(payload) } else { Heard::Pong(payload) })
}

fn sent() -> impl Strategy<Value = Sent> {
    let message = prop_oneof![
        "\\PC{0,300}".prop_map(Heard::Text),
        prop::collection::vec(any::<u8>(), 0..400).prop_map(Heard::Binary),
        prop::collection::vec(any::<u8>(), 1900..=MAX).prop_map(Heard::Binary),
    ];
    let cuts = prop::collection::vec((any::<Index>(), prop::option::of(control())), 0..6);
    (message, cuts).prop_map(|(message, cuts)| Sent { message, cuts })
}

/// The frames of these messages, and the expected events.
fn wire(sents: &[Sent]) -> (Vec<u8>, Vec<Heard>) {
    let (mut bytes, mut expected) = (Vec::new(), Vec::new());
    for Sent { message, cuts } in sents {
        let (mut opcode, payload) = match message {
            Heard::Text(text) => (1, text.as_bytes()),
            Heard::Binary(payload) => (2, &payload[..]),
            other => panic!("{other:?} is no message"),
        };
        let mut cuts: Vec<_> =
            cuts.iter().map(|(index, control)| (index.index(payload.len() + 1), control)).collect();
        cuts.sort_by_key(|cut| cut.0);
        let mut from = 0;
        for (to, control) in cuts {
            bytes.extend(frame(opcode, &payload[from..to]));
            (opcode, from) = (0, to);
            if let Some(control) = control {
                let (Heard::Ping(payload) | Heard::Pong(payload)) = control else { panic!("{control:?}") };
                let first = if matches!(control, Heard::Ping(_)) { 9 } else { 10 };
                bytes.extend(frame(FIN | first, payload));
                expected.push(control.clone());
            }
        }
        bytes.extend(frame(FIN | opcode, &payload[from..]));
        expected.push(message.clone());
    }
    (bytes, expected)
}

/// Feeds the bytes in reads of these sizes, over and over.
fn in_reads(mut bytes: &[u8], sizes: &[usize]) -> (Vec<Heard>, Decoder) {
    let (mut decoder, mut heard) = (Decoder::new(), Vec::new());
    for size in sizes.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (read, rest) = bytes.split_at((*size).min(bytes.len()));
        heard.extend(hear(&mut decoder, read, MAX));
        assert!(decoder.held() <= MAX + CONSTANT, "{} held", decoder.held());
        assert!(!decoder.is_idle() || decoder.held() == 0);
        bytes = rest;
    }
    (heard, decoder)
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        prop::collection::vec(1usize..8, 1..20),
        prop::collection::vec(1usize..600, 1..20),
        Just(vec![usize::MAX])
    ]
}

/// Bytes that look like frames more often than random ones do.
fn nearly_frames() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        8 => (any::<bool>(), 0u8..3, prop::collection::vec(prop_oneof![Just(b'x'), any::<u8>()], 0..200))
            .prop_map(|(fin, opcode, payload)| frame(if fin { FIN } else { 0 } | opcode, &payload)),
        2 => (8u8..11, prop::collection::vec(any::<u8>(), 0..130))
            .prop_map(|(opcode, payload)| frame(FIN | opcode, &payload)),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ];
    prop::collection::vec(part, 0..10).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn what_is_sent_is_heard_however_it_is_cut(
        sents in prop::collection::vec(sent(), 0..6), sizes in sizes(),
    ) {
        let (bytes, expected) = wire(&sents);
        let (heard, decoder) = in_reads(&bytes, &sizes);
        prop_assert_eq!(heard, expected);
        prop_assert!(decoder.is_idle());
        prop_assert_eq!(decoder.held(), 0);
    }

    #[test]
    fn any_bytes_mean_the_same_however_they_are_read(
        bytes in prop_oneof![nearly_frames(), prop::collection::vec(any::<u8>(), 0..300)], sizes in sizes(),
    ) {
        let (at_once, _) = in_reads(&bytes, &[usize::MAX]);
        let (heard, decoder) = in_reads(&bytes, &sizes);
        prop_assert_eq!(&heard, &at_once);
        let over = matches!(heard.last(), Some(Heard::Broken(_) | Heard::Close(_)));
        let last = |heard: &Heard| matches!(heard, Heard::Broken(_) | Heard::Close(_));
        prop_assert_eq!(heard.iter().position(last), if over { Some(heard.len() - 1) } else { None });
        prop_assert!(!over || decoder.held() == 0);
    }

    #[test]
    fn another_implementation_understands_the_server(text in "\\PC{0,300}", bytes: Vec<u8>, code in 3000u16..5000) {
        let mut out = Vec::new();
        server::push_text(&mut out, &text);
        out.extend_from_slice(&server::binary(&bytes));
        server::push_close(&mut out, code, &text);
        let mut client = WebSocket::from_raw_socket(Socket(out), Role::Client, None);
        prop_assert_eq!(client.read().unwrap().into_text().unwrap().to_string(), text.clone());
        prop_assert_eq!(client.read().unwrap().into_data(), bytes);
        let tokio_tungstenite::tungstenite::Message::Close(Some(said)) = client.read().unwrap() else {
            panic!("no close frame");
        };
        prop_assert_eq!(u16::from(said.code), code);
        prop_assert!(text.starts_with(said.reason.as_str()) && said.reason.len() + 3 >= text.len().min(123));
    }
}

/// A socket that contains some bytes and takes others.
struct Socket(Vec<u8>);

impl std::io::Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let size = buffer.len().min(self.0.len());
        buffer[..size].copy_from_slice(&self.0[..size]);
        self.0.drain(..size);
        Ok(size)
    }
}

impl std::io::Write for Socket {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        Ok(buffer.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
