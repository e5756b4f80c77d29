//! Addresses of the daemon, which must be on this machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// A URL of this machine, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Address of the host and port.
    pub(crate) address: SocketAddr,
    /// Its path, without a slash at the end.
    pub(crate) path: String,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let (scheme, rest) =
            url.split_once("://").ok_or("a URL is wanted, ws://127.0.0.1:8080/ws for instance")?;
        let port = match scheme {
            "ws" | "http" => 80,
            _ => return Err(format!("{scheme}: only ws and http are spoken")),
        };
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let address = if let Ok(address) = host.parse::<SocketAddr>() {
            address
        } else {
            let (name, port) = match host.rsplit_once(':') {
                Some((name, text)) if !text.ends_with(']') => {
                    (name, text.parse().map_err(|_| format!("{text} is no port"))?)
                }
                _ => (host, port),
            };
            let ip = match name.trim_matches(['[', ']']) {
                "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
                name => name.parse().map_err(|_| refusal(name))?,
            };
            SocketAddr::new(ip, port)
        };
        if !address.ip().is_loopback() {
            return Err(refusal(host));
        }
        Ok(Self { address, path: path.trim_end_matches('/').to_owned() })
    }
}

fn refusal(host: &str) -> String {
    format!("{host}: only this machine is put under load (127.0.0.1, [::1], localhost)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_accepted() {
        for (url, address, path) in [
            ("ws://127.0.0.1:8080/ws", "127.0.0.1:8080", "/ws"),
            ("http://localhost:3000", "127.0.0.1:3000", ""),
            ("http://[::1]:3000/", "[::1]:3000", ""),
            ("ws://[::1]/ws", "[::1]:80", "/ws"),
            ("ws://127.9.9.9/a/b", "127.9.9.9:80", "/a/b"),
        ] {
            let wanted = Target { address: address.parse().unwrap(), path: path.to_owned() };
            assert_eq!(url.parse(), Ok(wanted), "{url}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for url in [
            "ws://example.com/ws",
            "ws://10.0.0.1:8080/ws",
            "http://0.0.0.0:3000",
            "http://[::]:1",
            "ws://127.0.0.1.example.com/",
            "wss://127.0.0.1/ws",
            "127.0.0.1",
            "ws://127.0.0.1:x/",
            "ws://user@127.0.0.1:80/",
        ] {
            assert!(url.parse::<Target>().is_err(), "{url}");
        }
    }
}
