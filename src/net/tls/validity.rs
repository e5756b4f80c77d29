//! The time for which a certificate holds, read from its DER (RFC 5280, section 4.1). rustls checks the rest.

use crate::model::Wall;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// First and last moment of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub from: Wall,
    pub until: Wall,
}

impl Validity {
    /// Reads the validity of a certificate; `None`: this is none.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let (mut certificate, _) = element(certificate, SEQUENCE)?;
        let mut signed = take(&mut certificate, SEQUENCE)?;
        if signed.first() == Some(&VERSION) {
            take(&mut signed, VERSION)?;
        }
        take(&mut signed, INTEGER)?;
        // The signature's algorithm, and the issuer.
        take(&mut signed, SEQUENCE)?;
        take(&mut signed, SEQUENCE)?;
        let mut validity = take(&mut signed, SEQUENCE)?;
        Some(Self { from: moment(&mut validity)?, until: moment(&mut validity)? })
    }
}

/// The content of the element at the beginning, which has this tag, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, length], rest) = bytes.split_first_chunk()?;
    if found != tag {
        return None;
    }
    let (length, rest) = match length {
        short @ 0..=0x7f => (usize::from(short), rest),
        // A certificate is smaller than 16 MiB.
        long @ 0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

fn take<'d>(bytes: &mut &'d [u8], tag: u8) -> Option<&'d [u8]> {
    let (content, rest) = element(bytes, tag)?;
    *bytes = rest;
    Some(content)
}

/// `YYMMDDHHMMSSZ` up to 2049, `YYYYMMDDHHMMSSZ` after it (RFC 5280, section 4.1.2.5).
fn moment(bytes: &mut &[u8]) -> Option<Wall> {
    let (year, rest) = if let Some(text) = take(bytes, UTC_TIME) {
        let (year, rest) = number(text, 2)?;
        (if year < 50 { 2000 + year } else { 1900 + year }, rest)
    } else {
        number(take(bytes, GENERALIZED_TIME)?, 4)?
    };
    let (month, rest) = number(rest, 2)?;
    let (day, rest) = number(rest, 2)?;
    let (hour, rest) = number(rest, 2)?;
    let (minute, rest) = number(rest, 2)?;
    let (second, rest) = number(rest, 2)?;
    if rest != b"Z" {
        return None;
    }
    let small = |number: i16| i8::try_from(number).ok();
    let date =
        DateTime::new(year, small(month)?, small(day)?, small(hour)?, small(minute)?, small(second)?, 0)
            .ok()?;
    // The last day that can be written, which stands for "never" (RFC 5280, section 4.1.2.5), is past what jiff has.
    let stamp = TimeZone::UTC.to_timestamp(date).unwrap_or(Timestamp::MAX);
    Some(Wall(stamp.as_second() * 1000))
}

fn number(text: &[u8], digits: usize) -> Option<(i16, &[u8])> {
    let (text, rest) = text.split_at_checked(digits)?;
    let mut number = 0;
    for digit in text {
        let digit = digit.is_ascii_digit().then(|| i16::from(digit - b'0'))?;
        number = number * 10 + digit;
    }
    Some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    fn der(pem: &[u8]) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem).unwrap()
    }

    fn moment_of(tag: u8, text: &str) -> Option<String> {
        let bytes = [&[tag, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        moment(&mut &bytes[..]).map(|wall| wall.to_string())
    }

    #[test]
    fn both_ways_to_write_a_time_are_read() {
        for (tag, text, read) in [
            (UTC_TIME, "261130202642Z", "2026-11-30T20:26:42.000Z"),
            (UTC_TIME, "491231235959Z", "2049-12-31T23:59:59.000Z"),
            (UTC_TIME, "500101000000Z", "1950-01-01T00:00:00.000Z"),
            (GENERALIZED_TIME, "21261106202642Z", "2126-11-06T20:26:42.000Z"),
            (GENERALIZED_TIME, "99991231235959Z", "9999-12-30T22:00:00.000Z"),
        ] {
            assert_eq!(moment_of(tag, text).as_deref(), Some(read), "{text}");
        }
        for (tag, text) in [
            (UTC_TIME, "2611302026Z"),
            (UTC_TIME, "261130202642+0100"),
            (UTC_TIME, "261330202642Z"),
            (UTC_TIME, "26113O202642Z"),
            (GENERALIZED_TIME, "21261106202642.5Z"),
            (GENERALIZED_TIME, "20260230000000Z"),
            (GENERALIZED_TIME, "zzzz1106202642Z"),
            (INTEGER, "261130202642Z"),
        ] {
            assert_eq!(moment_of(tag, text), None, "{text}");
        }
    }

    #[test]
    fn certificates_of_openssl_are_read() {
        let long =
            Validity::of(&der(include_bytes!("../../../tests/fixtures/tls/listening/first.crt"))).unwrap();
        let short =
            Validity::of(&der(include_bytes!("../../../tests/fixtures/tls/listening/wild.crt"))).unwrap();
        let days = |validity: Validity| (validity.until.0 - validity.from.0) / 86_400_000;
        assert_eq!((days(long), days(short)), (36_500, 7300));
        assert!(short.from.to_string().starts_with("2026-"), "{}", short.from);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
            let mut bytes = der(include_bytes!("../../../tests/fixtures/tls/listening/first.crt")).to_vec();
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] = byte }
            let _ = Validity::of(&bytes);
        }
    }
}
