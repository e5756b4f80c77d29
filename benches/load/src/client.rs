//! A connection for requests, one after another.

use btc_cluster_client::http::{Request, Response, get, post};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than any answer should take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection that is opened again after the server has closed it.
pub(crate) struct Client {
    address: SocketAddr,
    host: String,
    stream: Option<TcpStream>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, host: address.to_string(), stream: None }
    }

    /// Sends JSON and returns the answer's status and body.
    pub(crate) async fn post(&mut self, path: &str, json: &str) -> io::Result<(u16, String)> {
        self.ask(&post(path, json)).await
    }

    /// Returns the answer's status and body.
    pub(crate) async fn get(&mut self, path: &str) -> io::Result<(u16, String)> {
        self.ask(&get(path)).await
    }

    async fn ask(&mut self, request: &Request) -> io::Result<(u16, String)> {
        // Kept only after a whole answer: what remains of a broken one must not be taken for the next.
        let stream = self.stream.take();
        let exchange = timeout(PATIENCE, exchange(stream, self.address, &request.bytes(&self.host))).await;
        let (stream, answer) = exchange.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        self.stream = (!answer.is_last()).then_some(stream);
        Ok((answer.status, String::from_utf8_lossy(&answer.body).into_owned()))
    }
}

async fn exchange(
    stream: Option<TcpStream>,
    address: SocketAddr,
    request: &[u8],
) -> io::Result<(TcpStream, Response)> {
    let mut stream = match stream {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            stream
        }
    };
    stream.write_all(request).await?;
    let answer = Response::read(&mut stream, &mut Vec::with_capacity(1024), false).await?;
    Ok((stream, answer))
}
