//! The PROXY protocol, versions 1 and 2 (haproxy.org, doc/proxy-protocol.txt): before anything else, a proxy says whose
//! connection it passes on.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/targets/proxied.rs"]
pub mod fuzzed;

/// What both versions have at least.
const FIRST: usize = 12;
const SIGNATURE: [u8; FIRST] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Longest line of version 1, with its end.
const LINE: usize = 107;
/// Bytes of version 2 before those that it counts.
const FIXED: usize = 16;
/// Most bytes that version 2 may count: addresses, and what proxies add about the connection.
const COUNTED: usize = 4096;

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// A client's.
    For(SocketAddr),
    /// The proxy's own (a health check), or of a client that it does not know.
    Own,
}

/// How far a header has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// So many bytes more belong to it.
    Needs(usize),
    /// It goes to the end of the line, with so many bytes more at most.
    NeedsLine(usize),
    Complete(Passed),
    /// There is none.
    Bad,
}

/// Reads the header of a connection, and not a byte of what follows.
///
/// # Errors
/// The connection has ended, or does not begin with a header.
pub async fn read(stream: &mut TcpStream) -> io::Result<Passed> {
    let mut header = Vec::with_capacity(LINE);
    loop {
        let n = match progress(&header) {
            Progress::Complete(passed) => return Ok(passed),
            Progress::Bad => {
                return Err(io::Error::new(ErrorKind::InvalidData, "no header of the PROXY protocol"));
            }
            Progress::Needs(n) => n,
            Progress::NeedsLine(most) => {
                let mut ahead = [0; LINE];
                let ahead = ahead.get_mut(..most).unwrap_or_default();
                let n = stream.peek(ahead).await?;
                if n == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                ahead.iter().take(n).position(|byte| *byte == b'\n').map_or(n, |end| end + 1)
            }
        };
        let before = header.len();
        header.resize(before + n, 0);
        stream.read_exact(header.get_mut(before..).unwrap_or_default()).await?;
    }
}

fn progress(header: &[u8]) -> Progress {
    if header.len() < FIRST {
        return Progress::Needs(FIRST - header.len());
    }
    if header.starts_with(&SIGNATURE) {
        return binary(header);
    }
    match header.strip_suffix(b"\n") {
        Some(line) => line.strip_suffix(b"\r").and_then(text).map_or(Progress::Bad, Progress::Complete),
        None if header.starts_with(b"PROXY ") && header.len() < LINE => {
            Progress::NeedsLine(LINE - header.len())
        }
        None => Progress::Bad,
    }
}

/// Version 1: `PROXY TCP4 192.0.2.1 198.51.100.1 4711 443`.
fn text(line: &[u8]) -> Option<Passed> {
    let line = std::str::from_utf8(line).ok()?.strip_prefix("PROXY ")?;
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Some(Passed::Own);
    }
    let mut words = line.split(' ');
    let family = words.next()?;
    let address = |word: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let port =
        |word: &str| word.bytes().all(|byte| byte.is_ascii_digit()).then(|| word.parse::<u16>().ok())?;
    let (from, _to) = (address(words.next()?)?, address(words.next()?)?);
    let (from_port, _to_port) = (port(words.next()?)?, port(words.next()?)?);
    words.next().is_none().then(|| client(from, from_port))?
}

/// Version 2.
fn binary(header: &[u8]) -> Progress {
    let Some(&[command, family, high, low]) = header.get(FIRST..FIXED) else {
        return Progress::Needs(FIXED - header.len());
    };
    let counted = usize::from(u16::from_be_bytes([high, low]));
    if counted > COUNTED || ![0x20, 0x21].contains(&command) {
        return Progress::Bad;
    }
    let body = header.get(FIXED..).unwrap_or_default();
    if body.len() < counted {
        return Progress::Needs(counted - body.len());
    }
    let told = match (command, family) {
        (0x21, 0x11) => four(body),
        (0x21, 0x21) => six(body),
        // LOCAL, or something that has no address of ours: to be read and forgotten.
        _ => Some(Passed::Own),
    };
    told.map_or(Progress::Bad, Progress::Complete)
}

/// Source, destination, and their ports.
fn four(body: &[u8]) -> Option<Passed> {
    let from: [u8; 4] = body.get(..4)?.try_into().ok()?;
    client(IpAddr::from(from), u16::from_be_bytes(body.get(8..12)?.get(..2)?.try_into().ok()?))
}

fn six(body: &[u8]) -> Option<Passed> {
    let from: [u8; 16] = body.get(..16)?.try_into().ok()?;
    client(IpAddr::from(from), u16::from_be_bytes(body.get(32..36)?.get(..2)?.try_into().ok()?))
}

/// `None`: no client has this address.
fn client(address: IpAddr, port: u16) -> Option<Passed> {
    let address = address.to_canonical();
    let nobody = address.is_unspecified() || address.is_multicast();
    (!nobody).then(|| Passed::For(SocketAddr::new(address, port)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    fn from(text: &str) -> Progress {
        Progress::Complete(Passed::For(text.parse().unwrap()))
    }

    const OWN: Progress = Progress::Complete(Passed::Own);

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let size = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &size, body].concat()
    }

    const BODY4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 1, 0x12, 0x67, 1, 187];

    #[test]
    fn lines_of_version_1() {
        for (line, expected) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\n", from("192.0.2.1:4711")),
            ("PROXY TCP6 2001:db8::5 2001:db8::1 0 65535\r\n", from("[2001:db8::5]:0")),
            ("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", from("192.0.2.1:1")),
            ("PROXY UNKNOWN\r\n", OWN),
            ("PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", OWN),
            ("PROXY UNKNOWNS\r\n", Progress::Bad),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\n", Progress::Bad),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 4711 443 \r\n", Progress::Bad),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 4711\r\n", Progress::Bad),
            ("PROXY TCP4 192.0.2.1  198.51.100.1 4711 443\r\n", Progress::Bad),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 +4711 443\r\n", Progress::Bad),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 65536 443\r\n", Progress::Bad),
            ("PROXY TCP4 2001:db8::5 2001:db8::1 1 2\r\n", Progress::Bad),
            ("PROXY TCP6 192.0.2.1 198.51.100.1 1 2\r\n", Progress::Bad),
            ("PROXY TCP4 0.0.0.0 198.51.100.1 1 2\r\n", Progress::Bad),
            ("PROXY UDP4 192.0.2.1 198.51.100.1 1 2\r\n", Progress::Bad),
            ("proxy TCP4 192.0.2.1 198.51.100.1 1 2\r\n", Progress::Bad),
            ("GET / HTTP/1.1\r\n", Progress::Bad),
            ("PROXY TCP4 192.0.2.1", Progress::NeedsLine(LINE - 20)),
        ] {
            assert_eq!(progress(line.as_bytes()), expected, "{line:?}");
        }
        let endless = format!("PROXY UNKNOWN {}", "x".repeat(LINE));
        assert_eq!(progress(&endless.as_bytes()[..LINE]), Progress::Bad);
    }

    #[test]
    fn headers_of_version_2() {
        let six = ["2001:db8::5", "2001:db8::1"].map(|ip| ip.parse::<Ipv6Addr>().unwrap().octets()).concat();
        let six = [&six[..], &[0x12, 0x67, 1, 187]].concat();
        let extra = [&BODY4[..], &[0x03, 0, 4, 1, 2, 3, 4]].concat();
        for (header, expected) in [
            (v2(0x21, 0x11, &BODY4), from("192.0.2.1:4711")),
            (v2(0x21, 0x11, &extra), from("192.0.2.1:4711")),
            (v2(0x21, 0x21, &six), from("[2001:db8::5]:4711")),
            (v2(0x20, 0x11, &BODY4), OWN),
            (v2(0x20, 0x00, &[]), OWN),
            (v2(0x21, 0x00, &[]), OWN),
            (v2(0x21, 0x31, &[0; 216]), OWN),
            (v2(0x21, 0x11, &BODY4[..11]), Progress::Bad),
            (v2(0x21, 0x21, &BODY4), Progress::Bad),
            (v2(0x21, 0x11, &[0; 12]), Progress::Bad),
            (v2(0x22, 0x11, &BODY4), Progress::Bad),
            (v2(0x11, 0x11, &BODY4), Progress::Bad),
            (v2(0x21, 0x11, &[0; COUNTED + 1])[..FIXED].to_vec(), Progress::Bad),
        ] {
            assert_eq!(progress(&header), expected, "{header:?}");
        }
    }

    /// However a header comes, what follows is left where it is.
    #[tokio::test]
    async fn what_follows_is_not_read() {
        let line = b"PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\n".to_vec();
        for header in [line, v2(0x21, 0x11, &BODY4)] {
            for cut in 0..header.len() {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                let (mut server, _) = listener.accept().await.unwrap();
                let all = [&header[..], b"GET /\n"].concat();
                let (first, rest) = all.split_at(cut);
                client.write_all(first).await.unwrap();
                let reading = tokio::spawn(async move {
                    let passed = read(&mut server).await.unwrap();
                    let mut follows = vec![];
                    server.read_to_end(&mut follows).await.unwrap();
                    (passed, follows)
                });
                tokio::task::yield_now().await;
                client.write_all(rest).await.unwrap();
                drop(client);
                let expected = (Passed::For("192.0.2.1:4711".parse().unwrap()), b"GET /\n".to_vec());
                assert_eq!(reading.await.unwrap(), expected);
            }
        }
    }

    proptest! {
        /// No bytes panic, and none make it wait for more than a header can have.
        #[test]
        fn any_bytes_have_a_verdict(bytes in prop::collection::vec(any::<u8>(), 0..300), signed in any::<bool>()) {
            let bytes = if signed { [&SIGNATURE[..], &bytes].concat() } else { bytes };
            match progress(&bytes) {
                Progress::Needs(n) | Progress::NeedsLine(n) => {
                    prop_assert!((1..=FIXED + COUNTED).contains(&n));
                }
                Progress::Complete(_) | Progress::Bad => {}
            }
        }
    }
}
