//! An echo server on the frame layer alone: `cargo run --example ws_echo -- 127.0.0.1:9001 16777216`, the address
//! and the longest message in bytes. For the conformance suite (`tests/autobahn/run`), and to show how
//! `btc_cluster::ws` is used: one read buffer for all sessions, answers that leave in one write.

use axum::http::{Request, Response, StatusCode};
use btc_cluster::ws::{Decoder, Event, frame, handshake};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::ops::ControlFlow;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; 64 * 1024].into());
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "127.0.0.1:9001".into());
    let max_message = args.next().map_or(Ok(16 << 20), |max| max.parse())?;
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = service_fn(move |request| std::future::ready(upgrade(request, max_message)));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection.with_upgrades());
    }
}

fn upgrade(mut request: Request<Incoming>, max_message: usize) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, headers, body) =
        match handshake::check(request.method(), request.version(), request.headers()) {
            Ok(acceptance) => {
                let upgrade = hyper::upgrade::on(&mut request);
                tokio::spawn(async move {
                    let Ok(upgraded) = upgrade.await else { return };
                    let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else { return };
                    // A client that is gone is nobody's business here.
                    let _ = session(parts.io.into_inner(), parts.read_buf.into(), max_message).await;
                });
                (StatusCode::SWITCHING_PROTOCOLS, acceptance.headers(), "")
            }
            Err(refusal) => (refusal.status(), refusal.headers(), refusal.reason()),
        };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// `early` came behind the request.
async fn session(mut stream: TcpStream, mut early: Vec<u8>, max_message: usize) -> io::Result<()> {
    let mut decoder = Decoder::new();
    let mut out = Vec::new();
    let mut state = answer(&mut decoder, &mut early, max_message, &mut out);
    drop(early);
    loop {
        stream.write_all(&out).await?;
        if state.is_break() {
            return farewell(stream).await;
        }
        // Memory of a large answer is not kept for a small one.
        out = Vec::new();
        stream.readable().await?;
        let read: io::Result<usize> = READ.with_borrow_mut(|buffer| {
            let size = stream.try_read(buffer)?;
            if size > 0 {
                state = answer(&mut decoder, &mut buffer[..size], max_message, &mut out);
            }
            Ok(size)
        });
        match read {
            Ok(0) => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
}

/// Says everything back; breaks after the last word.
fn answer(decoder: &mut Decoder, input: &mut [u8], max_message: usize, out: &mut Vec<u8>) -> ControlFlow<()> {
    let mut events = decoder.feed(input, max_message);
    while let Some(event) = events.next() {
        match event {
            Ok(Event::Text(text)) => frame::push_text(out, text),
            Ok(Event::Binary(bytes)) => frame::push_binary(out, bytes),
            Ok(Event::Ping(payload)) => frame::push_pong(out, payload),
            Ok(Event::Pong(_)) => {}
            Ok(Event::Close(said)) => {
                out.extend(frame::close_echo(said));
                return ControlFlow::Break(());
            }
            Err(violation) => {
                frame::push_close(out, violation.code(), violation.reason());
                return ControlFlow::Break(());
            }
        }
    }
    ControlFlow::Continue(())
}

/// Reads what is still on its way: a socket that is closed with unread bytes takes the close frame with it.
async fn farewell(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut nowhere = tokio::io::sink();
    let rest = tokio::io::copy(&mut stream, &mut nowhere);
    tokio::time::timeout(Duration::from_secs(1), rest).await.map_or(Ok(()), |copied| copied.map(drop))
}
