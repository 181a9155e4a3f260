//! Frigate's `zmq` detector: a REP socket that its REQ sockets connect to.

mod frigate;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::door::House;
use crate::zmtp::Stream;

/// Connections at once; one more is closed.
const CONNECTIONS: usize = 128;
/// After so long without a sign of life, the other end of a connection is asked for one: a cable may be cut.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Where a socket listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Tcp(SocketAddr),
    Ipc(PathBuf),
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Endpoint, String> {
        if let Some(address) = text.strip_prefix("tcp://") {
            return address
                .parse()
                .map(Endpoint::Tcp)
                .map_err(|_| format!("{address} is not IP:PORT, such as 127.0.0.1:5555 or [::1]:5555"));
        }
        match text.strip_prefix("ipc://") {
            Some(path) if path.starts_with('/') => Ok(Endpoint::Ipc(path.into())),
            _ => Err("not tcp://IP:PORT or ipc:///PATH".to_string()),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(address) => write!(f, "tcp://{address}"),
            Endpoint::Ipc(path) => write!(f, "ipc://{}", path.display()),
        }
    }
}

impl Endpoint {
    /// Whether only programs of this machine reach it.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Endpoint::Tcp(address) => address.ip().is_loopback(),
            Endpoint::Ipc(_) => true,
        }
    }
}

/// A socket that listens.
pub(crate) enum Listener {
    Tcp(TcpListener, SocketAddr),
    Ipc(UnixListener, PathBuf),
}

impl Listener {
    /// Listens. A socket of the file system that nobody listens to any more is replaced.
    pub(crate) async fn bind(endpoint: &Endpoint) -> io::Result<Listener> {
        match endpoint {
            Endpoint::Tcp(address) => {
                let listener = TcpListener::bind(address).await?;
                let address = listener.local_addr()?;
                Ok(Listener::Tcp(listener, address))
            }
            Endpoint::Ipc(path) => {
                remove_left_behind(path)?;
                Ok(Listener::Ipc(UnixListener::bind(path)?, path.clone()))
            }
        }
    }

    /// Where it listens.
    pub(crate) fn place(&self) -> Endpoint {
        match self {
            Listener::Tcp(_, address) => Endpoint::Tcp(*address),
            Listener::Ipc(_, path) => Endpoint::Ipc(path.clone()),
        }
    }

    /// Answers until `ending` says so, and then the requests that are there.
    pub(crate) async fn serve(self, house: Arc<House>, ending: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut open = JoinSet::new();
        let mut ends = ending.clone();
        loop {
            let accepted = tokio::select! {
                accepted = self.accept() => accepted,
                _ = ends.wait_for(|ending| *ending) => break,
            };
            // Those that are done are forgotten.
            while open.try_join_next().is_some() {}
            let Ok(stream) = accepted else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            if let Ok(place) = places.clone().try_acquire_owned() {
                let (house, ending) = (house.clone(), ending.clone());
                open.spawn(async move {
                    frigate::Client::new(house).serve(stream, ending).await;
                    drop(place);
                });
            }
        }
        if let Listener::Ipc(_, path) = &self {
            let _ = std::fs::remove_file(path);
        }
        while open.join_next().await.is_some() {}
    }

    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Listener::Tcp(listener, _) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let alive = socket2::TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE / 4);
                socket2::SockRef::from(&stream).set_tcp_keepalive(&alive)?;
                Ok(Box::new(stream))
            }
            Listener::Ipc(listener, _) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

fn remove_left_behind(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    let dead = || std::os::unix::net::UnixStream::connect(path).is_err();
    if metadata.file_type().is_socket() && dead() { std::fs::remove_file(path) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        for (text, local) in [
            ("tcp://127.0.0.1:5555", true),
            ("tcp://[::1]:5555", true),
            ("tcp://0.0.0.0:5555", false),
            ("ipc:///run/x", true),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!((endpoint.to_string(), endpoint.is_local()), (text.to_string(), local));
        }
        for wrong in ["", "tcp://*:5555", "tcp://host:5555", "ipc://x", "127.0.0.1:5555", "udp://127.0.0.1:1"]
        {
            assert!(wrong.parse::<Endpoint>().is_err(), "{wrong}");
        }
    }
}
