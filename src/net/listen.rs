//! stub
use crate::config::Config; use crate::protocol::cluster::Port; use std::io; use std::net::{SocketAddr,TcpListener}; use std::os::fd::OwnedFd;
#[allow(missing_docs)] #[derive(Debug)] pub struct Listeners(Vec<(Port, SocketAddr, OwnedFd)>);
#[allow(missing_docs)] impl Listeners {
 pub fn bind(c: &Config) -> io::Result<Self> { let mut v = vec![]; for (p,l) in [(Port::Http,Some(&c.http.listen)),(Port::Ws,Some(&c.ws.listen)),(Port::Admin,c.admin.listen.as_ref())] { for a in l.into_iter().flat_map(|l| &l.addresses) { match TcpListener::bind(a) { Ok(s) => { let a = s.local_addr()?; s.set_nonblocking(true)?; v.push((p,a,s.into())) } Err(e) => { eprintln!("{a}: {e}"); if !l.unwrap().best_effort { return Err(e) } } } } } Ok(Self(v)) }
 pub fn change(&self, c: &Config) -> io::Result<Self> { Self::bind(c) }
 pub fn all(&self) -> impl Iterator<Item=(Port,&OwnedFd)> { self.0.iter().map(|x| (x.0,&x.2)) }
 pub fn addresses(&self, p: Port) -> impl Iterator<Item=SocketAddr> { self.0.iter().filter(move |x| x.0==p).map(|x| x.1) } }
