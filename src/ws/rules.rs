//! Each rule of RFC 6455 that a client can break, with the code it is closed with.

use super::client::{FIN, Heard, KEY, claim, frame, hear};
use super::{Decoder, Event, Violation, code};

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = FIN | 8;
const PING: u8 = FIN | 9;
const PONG: u8 = FIN | 10;
const MAX: usize = 64 * 1024;

fn said(input: &[u8]) -> Vec<Heard> {
    hear(&mut Decoder::new(), input, MAX)
}

/// The violation that these bytes end in, given at once and one by one.
fn violation(input: &[u8]) -> Violation {
    let Some(Heard::Broken(violation)) = said(input).pop() else { panic!("nothing is broken") };
    let mut decoder = Decoder::new();
    let heard: Vec<_> = input.iter().flat_map(|byte| hear(&mut decoder, &[*byte], MAX)).collect();
    assert_eq!(heard.last(), Some(&Heard::Broken(violation)));
    assert_eq!(decoder.held(), 0, "nothing is kept of a broken stream");
    assert!(!decoder.is_idle());
    assert!(hear(&mut decoder, &frame(FIN | TEXT, b"more"), MAX).is_empty(), "and nothing is read of it");
    violation
}

fn fails(input: &[u8], expected: Violation, code: u16) {
    assert_eq!(violation(input), expected);
    assert_eq!(expected.code(), code);
}

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(CLOSE, &[&code.to_be_bytes(), reason].concat())
}

#[test]
fn a_session_between_messages_costs_sixteen_bytes() {
    assert!(size_of::<Decoder>() <= 16);
    let mut decoder = Decoder::new();
    hear(&mut decoder, &frame(TEXT, &[b'x'; 5000]), MAX);
    assert!(!decoder.is_idle() && decoder.held() >= 5000);
    hear(&mut decoder, &frame(FIN, b""), MAX);
    assert!(decoder.is_idle() && decoder.held() == 0);
}

#[test]
fn a_whole_frame_is_read_where_it_lies() {
    let mut input = frame(FIN | TEXT, "žluťoučký".as_bytes());
    let place = input.as_ptr_range();
    let mut decoder = Decoder::new();
    let mut events = decoder.feed(&mut input, MAX);
    let Some(Ok(Event::Text(text))) = events.next() else { panic!("no text") };
    assert_eq!(text, "žluťoučký");
    assert!(place.contains(&text.as_ptr()));
    assert_eq!(events.next(), None);
    assert!(decoder.is_idle());
}

#[test]
fn whoever_stops_before_the_end_can_feed_the_rest_again() {
    let mut input = [frame(FIN | TEXT, b"one"), frame(FIN | TEXT, b"two")].concat();
    let mut decoder = Decoder::new();
    let mut events = decoder.feed(&mut input, MAX);
    assert_eq!(events.next(), Some(Ok(Event::Text("one"))));
    let rest = events.unread().to_vec();
    assert_eq!(hear(&mut decoder, &rest, MAX), [Heard::Text("two".into())]);
}

#[test]
fn control_frames_may_come_inside_a_message() {
    let input = [
        frame(TEXT, "a\u{20AC}".as_bytes().split_at(2).0),
        frame(PING, b"?"),
        frame(0, "\u{20AC}".as_bytes().split_at(1).1),
        frame(PONG, b""),
        frame(FIN, b"z"),
    ];
    let heard = said(&input.concat());
    assert_eq!(heard, [Heard::Ping(b"?".into()), Heard::Pong(vec![]), Heard::Text("a\u{20AC}z".into())]);
}

#[test]
fn after_a_close_frame_nothing_is_read() {
    let input = [close(1000, b"bye"), frame(FIN | TEXT, b"more")].concat();
    assert_eq!(said(&input), [Heard::Close(Some((1000, "bye".into())))]);
    assert_eq!(said(&frame(CLOSE, b"")), [Heard::Close(None)]);
    // Also in the middle of a message, whose memory is freed.
    let mut decoder = Decoder::new();
    hear(&mut decoder, &[frame(TEXT, &[b'x'; 999]), close(1001, b"")].concat(), MAX);
    assert_eq!((decoder.held(), decoder.is_idle()), (0, false));
}

#[test]
fn broken_framing_is_1002() {
    for bits in [0x10, 0x20, 0x40, 0x70] {
        fails(&frame(FIN | TEXT | bits, b"x"), Violation::ReservedBits, code::PROTOCOL);
        fails(&frame(PING | bits, b"x"), Violation::ReservedBits, code::PROTOCOL);
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        fails(&frame(FIN | opcode, b"x"), Violation::ReservedOpcode, code::PROTOCOL);
    }
    fails(b"\x81\x01x", Violation::Unmasked, code::PROTOCOL);
    for control in [8, 9, 10] {
        fails(&frame(control, b""), Violation::FragmentedControl, code::PROTOCOL);
        fails(&frame(FIN | control, &[0; 126]), Violation::LongControl, code::PROTOCOL);
        fails(&claim(FIN | control, 1 << 40), Violation::LongControl, code::PROTOCOL);
    }
    fails(&frame(0, b"x"), Violation::NothingToContinue, code::PROTOCOL);
    fails(&frame(FIN, b"x"), Violation::NothingToContinue, code::PROTOCOL);
    for second in [TEXT, FIN | TEXT, BINARY, FIN | BINARY] {
        let input = [frame(TEXT, b"x"), frame(second, b"y")].concat();
        fails(&input, Violation::Interleaved, code::PROTOCOL);
    }
}

#[test]
fn a_length_in_more_bytes_than_it_needs_is_1002() {
    let long = |marker: u8, length: &[u8]| [&[FIN | BINARY, 0x80 | marker], length, &KEY].concat();
    for length in [0, 1, 125] {
        fails(&long(126, &u16::to_be_bytes(length)), Violation::Length, code::PROTOCOL);
    }
    for length in [0, 125, 126, 65_535, 1 << 63, u64::MAX] {
        fails(&long(127, &u64::to_be_bytes(length)), Violation::Length, code::PROTOCOL);
    }
}

#[test]
fn close_frames_carry_nothing_or_a_code_that_may_be_sent() {
    fails(&frame(CLOSE, b"x"), Violation::CloseBody, code::PROTOCOL);
    let allowed = [1000..1004, 1007..1015, 3000..5000].into_iter().flatten();
    let allowed: Vec<u16> = allowed.collect();
    for code in (0..5100).chain([0x7FFF, 0x8000, 0xFFFF]) {
        match said(&close(code, b"why"))[..] {
            [Heard::Close(Some((said, _)))] => assert!(said == code && allowed.contains(&code), "{code}"),
            [Heard::Broken(Violation::CloseCode)] => assert!(!allowed.contains(&code), "{code}"),
            ref other => panic!("{code}: {other:?}"),
        }
    }
    assert_eq!(Violation::CloseCode.code(), code::PROTOCOL);
    fails(&close(1000, b"\xC3\x28"), Violation::NotUtf8, code::INVALID_PAYLOAD);
    fails(&close(1000, b"\xE2\x82"), Violation::NotUtf8, code::INVALID_PAYLOAD);
}

#[test]
fn invalid_utf8_is_1007_however_it_is_cut() {
    // Overlong, surrogate, past U+10FFFF, a lone continuation, a character that never ends.
    for bad in [&b"\xC0\xAF"[..], b"\xED\xA0\x80", b"\xF4\x90\x80\x80", b"\x80", b"ok\xE2\x82"] {
        fails(&frame(FIN | TEXT, bad), Violation::NotUtf8, code::INVALID_PAYLOAD);
        for cut in 0..=bad.len() {
            let (head, tail) = bad.split_at(cut);
            let input = [frame(TEXT, head), frame(PING, b""), frame(FIN, tail)].concat();
            fails(&input, Violation::NotUtf8, code::INVALID_PAYLOAD);
        }
    }
}

#[test]
fn a_text_is_failed_at_the_first_byte_that_cannot_be_utf8() {
    let mut decoder = Decoder::new();
    let input = frame(FIN | TEXT, b"\xCE\xBA\xF4\x90 and much more that never comes");
    let until = claim(FIN | TEXT, 35).len() + 3;
    assert!(hear(&mut decoder, &input[..until], MAX).is_empty(), "F4 may begin a character");
    assert_eq!(hear(&mut decoder, &input[until..=until], MAX), [Heard::Broken(Violation::NotUtf8)]);
}

#[test]
fn a_claim_over_the_limit_is_1009_at_the_header() {
    for length in [MAX as u64 + 1, 1 << 30, (1 << 63) - 1] {
        // Neither the mask nor anything else has arrived.
        let header = claim(FIN | BINARY, length);
        fails(&header[..header.len() - 4], Violation::TooBig, code::TOO_BIG);
    }
    let input = [frame(BINARY, &[0; MAX]), frame(0, b""), frame(FIN, b"x")].concat();
    fails(&input, Violation::TooBig, code::TOO_BIG);
    let input = [frame(BINARY, &[0; MAX - 1]), frame(FIN, b"x")].concat();
    assert_eq!(said(&input), [Heard::Binary([vec![0; MAX - 1], b"x".into()].concat())]);
}

#[test]
fn memory_grows_with_what_came_and_not_with_what_is_claimed() {
    let mut decoder = Decoder::new();
    let input = frame(FIN | BINARY, &[7; MAX]);
    let constant = 256;
    for (i, byte) in input.iter().enumerate().take(input.len() - 1) {
        assert!(hear(&mut decoder, &[*byte], MAX).is_empty());
        assert!(decoder.held() <= (2 * i).min(MAX) + constant, "{} held after {i}", decoder.held());
    }
    assert_eq!(hear(&mut decoder, &input[input.len() - 1..], MAX), [Heard::Binary(vec![7; MAX])]);
    assert!(decoder.is_idle());
}

#[test]
fn endless_fragments_are_1008() {
    let mut decoder = Decoder::new();
    assert!(hear(&mut decoder, &frame(TEXT, b""), MAX).is_empty());
    let empty = frame(0, b"");
    for _ in 0..1024 {
        assert!(hear(&mut decoder, &empty, MAX).is_empty());
    }
    assert!(decoder.held() < 256);
    assert_eq!(hear(&mut decoder, &empty, MAX), [Heard::Broken(Violation::TooManyFragments)]);
    assert_eq!(Violation::TooManyFragments.code(), code::POLICY);
}
