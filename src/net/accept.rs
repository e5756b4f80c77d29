//! stub
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
#[allow(missing_docs)]
pub enum Go { Now, Pause(Duration), Stop }
#[allow(missing_docs)]
pub trait Gate { fn before_accept(&mut self) -> Go; fn accept_error(&mut self); }
#[allow(missing_docs)]
pub async fn accept_loop(l: TcpListener, mut g: impl Gate, f: impl Fn(TcpStream, SocketAddr)) {
    loop {
        match g.before_accept() { Go::Stop => return, Go::Pause(d) => tokio::time::sleep(d).await, Go::Now => {} }
        match l.accept().await { Ok((s, a)) => { let _ = s.set_nodelay(true); f(s, a) } Err(_) => { g.accept_error(); tokio::time::sleep(Duration::from_millis(50)).await } }
    }
}
