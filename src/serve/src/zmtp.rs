//! ZMTP 3.0, the protocol of ZeroMQ's sockets (RFC 23 and 28 of rfc.zeromq.org), as far as a REP socket without encryption needs it.
//!
//! It is here and not taken from a crate because of who may connect: `zeromq` 0.7 reserves what a frame's head announces, so that 11
//! bytes end the process, and tells nobody that a client has gone; `zmq` needs a C++ compiler and CMake.
//!
//! ```text
//! greeting (64 bytes each way) ── READY ──┬─► frames: flags, length, bytes ──► [route.. , "", request frames..]
//!                                         └─◄ the same route, "", reply frames
//! ```
//! What a frame announces is reserved as it arrives. A client that is silent between messages is left alone; within one it has a time.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use crate::refusal::Refusal;

/// How long the greetings may take, and the rest of a message whose first byte is there.
const TIME: Duration = Duration::from_secs(30);
/// Bytes of a greeting.
const GREETING: usize = 64;
/// Bytes of the longest command.
const MAX_COMMAND: usize = 4096;
/// Frames of a route at most, each of at most 255 bytes: one from each device on the way.
const MAX_ROUTE: usize = 8;
/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;

const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// Bytes in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Why a connection is cut off.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Its other end is gone.
    #[error(transparent)]
    Gone(#[from] io::Error),
    /// What it sends is no ZMTP, or nothing that a REP socket is sent.
    #[error("{0}")]
    Garbage(&'static str),
    /// It sends more than it may.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// A client's connection, after the greetings.
pub struct Connection {
    stream: BufReader<Box<dyn Stream>>,
}

/// The way back to who asked, through the devices between: `[[route frame]..]`.
#[derive(Debug, Default)]
pub struct Route(Vec<Vec<u8>>);

struct Head {
    flags: u8,
    length: u64,
}

/// How many bytes a message's frames may have, and who must know of them.
pub trait Allowance: Send {
    /// Whether frame `index` may have `length` bytes; `first` is the first frame, once it is there.
    ///
    /// # Errors
    /// It may not.
    fn frame(&mut self, index: usize, length: u64, first: Option<&[u8]>) -> Result<(), Refusal>;
    /// So many bytes of all frames are there.
    ///
    /// # Errors
    /// They are too many at this moment.
    fn arrived(&mut self, bytes: usize) -> Result<(), Refusal>;
}

impl Connection {
    /// Greets: afterwards messages can be received.
    ///
    /// # Errors
    /// The other end is gone, or is no REQ socket of ZMTP 3 without encryption.
    pub async fn greet(stream: Box<dyn Stream>) -> Result<Connection, Fault> {
        let mut connection = Connection { stream: BufReader::with_capacity(CHUNK, stream) };
        timeout(TIME, connection.handshake()).await.unwrap_or(Err(Fault::Garbage("no greeting in time")))?;
        Ok(connection)
    }

    async fn handshake(&mut self) -> Result<(), Fault> {
        let mut ours = [0; GREETING];
        (ours[0], ours[9], ours[10]) = (0xff, 0x7f, 3);
        ours[12..16].copy_from_slice(b"NULL");
        self.write(&ours).await?;
        let mut theirs = [0; GREETING];
        // Whatever else it is, its first byte tells.
        self.stream.read_exact(&mut theirs[..1]).await?;
        if theirs[0] != 0xff {
            return Err(Fault::Garbage("no ZMTP"));
        }
        self.stream.read_exact(&mut theirs[1..]).await?;
        if theirs[9] & 1 == 0 || theirs[10] < 3 {
            return Err(Fault::Garbage("no ZMTP 3"));
        }
        if !theirs[12..32].starts_with(b"NULL\0") {
            return Err(Fault::Garbage("encrypted or with a password"));
        }
        self.write(&command(b"READY", &property(b"Socket-Type", b"REP"))).await?;
        let head = self.head().await?;
        if head.flags & COMMAND == 0 {
            return Err(Fault::Garbage("a message before READY"));
        }
        let ready = self.command(head.length).await?;
        match socket_type(&ready) {
            Some(b"REQ" | b"DEALER" | b"ROUTER") => Ok(()),
            _ => {
                let reason = b"this is a REP socket: connect a REQ";
                let text: Vec<u8> = [&[reason.len() as u8], &reason[..]].concat();
                self.write(&command(b"ERROR", &text)).await?;
                Err(Fault::Garbage("not a REQ socket"))
            }
        }
    }

    /// The next message: its route, and what is asked, at least one frame.
    ///
    /// # Errors
    /// The other end is gone, sends garbage, or more than it may.
    pub async fn receive(&mut self, allowed: &mut dyn Allowance) -> Result<(Route, Vec<Vec<u8>>), Fault> {
        loop {
            if self.stream.fill_buf().await?.is_empty() {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            let message = timeout(TIME, self.message(allowed)).await;
            match message.unwrap_or(Err(Fault::Garbage("a message that did not end in time")))? {
                Some(message) => return Ok(message),
                // It was a command.
                None => continue,
            }
        }
    }

    async fn message(&mut self, allowed: &mut dyn Allowance) -> Result<Option<(Route, Vec<Vec<u8>>)>, Fault> {
        let (mut route, mut frames) = (Route::default(), Vec::<Vec<u8>>::new());
        let (mut routed, mut arrived) = (false, 0);
        loop {
            let Head { flags, length } = self.head().await?;
            if flags & COMMAND != 0 {
                let command = self.command(length).await?;
                // A sign of life is answered with its context, behind a time to live of two bytes (RFC 37).
                if let Some(rest) = command.strip_prefix(b"\x04PING") {
                    let context = rest.get(2..).unwrap_or_default().to_vec();
                    self.write(&self::command(b"PONG", &context)).await?;
                }
                // Commands come between messages, and not within one.
                return if routed || !route.0.is_empty() {
                    Err(Fault::Garbage("a command in a message"))
                } else {
                    Ok(None)
                };
            }
            let more = flags & MORE != 0;
            if !routed {
                if !more || length > 255 || route.0.len() >= MAX_ROUTE {
                    return Err(Fault::Garbage("no request: an empty frame must stand before it"));
                }
                match length {
                    0 => routed = true,
                    _ => route.0.push(self.bytes(length, &mut |_| Ok(())).await?),
                }
                continue;
            }
            allowed.frame(frames.len(), length, frames.first().map(Vec::as_slice))?;
            let frame = self.bytes(length, &mut |bytes| allowed.arrived(arrived + bytes)).await?;
            arrived += frame.len();
            frames.push(frame);
            if !more {
                return Ok(Some((route, frames)));
            }
        }
    }

    /// Sends a reply.
    ///
    /// # Errors
    /// The other end is gone, or does not read it in time.
    pub async fn reply(&mut self, Route(route): Route, frame: &[u8]) -> Result<(), Fault> {
        let mut bytes = Vec::new();
        for part in &route {
            push(&mut bytes, MORE, part);
        }
        push(&mut bytes, MORE, b"");
        push(&mut bytes, 0, frame);
        let sent = timeout(TIME, self.write(&bytes)).await;
        sent.unwrap_or(Err(Fault::Garbage("a reply that was not read in time")))
    }

    /// Ends when the other end is gone; never, once it has sent something more.
    pub async fn gone(&mut self) {
        let more = matches!(self.stream.fill_buf().await, Ok(bytes) if !bytes.is_empty());
        if more {
            std::future::pending::<()>().await;
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    async fn head(&mut self) -> Result<Head, Fault> {
        let flags = self.stream.read_u8().await?;
        if flags & !(MORE | LONG | COMMAND) != 0 || flags & (MORE | COMMAND) == MORE | COMMAND {
            return Err(Fault::Garbage("a frame of an unknown kind"));
        }
        let length = match flags & LONG {
            0 => u64::from(self.stream.read_u8().await?),
            _ => self.stream.read_u64().await?,
        };
        Ok(Head { flags, length })
    }

    async fn command(&mut self, length: u64) -> Result<Vec<u8>, Fault> {
        if length > MAX_COMMAND as u64 {
            return Err(Fault::Garbage("a command that is too long"));
        }
        self.bytes(length, &mut |_| Ok(())).await
    }

    /// The next `length` bytes; `arrived` hears how many there are.
    async fn bytes(
        &mut self,
        length: u64,
        arrived: &mut (dyn FnMut(usize) -> Result<(), Refusal> + Send),
    ) -> Result<Vec<u8>, Fault> {
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < length {
            let part = self.stream.fill_buf().await?;
            if part.is_empty() {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            let missing = length - bytes.len() as u64;
            let taken = part.len().min(usize::try_from(missing).unwrap_or(usize::MAX));
            arrived(bytes.len() + taken)?;
            frcnn_files::try_reserve(&mut bytes, taken).map_err(|_| Refusal::Busy)?;
            bytes.extend_from_slice(part.get(..taken).unwrap_or_default());
            self.stream.consume(taken);
        }
        Ok(bytes)
    }
}

fn push(to: &mut Vec<u8>, flags: u8, frame: &[u8]) {
    match u8::try_from(frame.len()) {
        Ok(length) => to.extend([flags, length]),
        Err(_) => {
            to.push(flags | LONG);
            to.extend((frame.len() as u64).to_be_bytes());
        }
    }
    to.extend_from_slice(frame);
}

fn command(name: &[u8], data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    push(&mut bytes, COMMAND, &[&[name.len() as u8], name, data].concat());
    bytes
}

fn property(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[name.len() as u8], name, &(value.len() as u32).to_be_bytes(), value].concat()
}

/// The property `Socket-Type` of a READY command; names are without case.
fn socket_type(ready: &[u8]) -> Option<&[u8]> {
    let mut rest = ready.strip_prefix(b"\x05READY")?;
    loop {
        let (&length, behind) = rest.split_first()?;
        let (name, behind) = behind.split_at_checked(usize::from(length))?;
        let (length, behind) = behind.split_first_chunk::<4>()?;
        let (value, behind) = behind.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        if name.eq_ignore_ascii_case(b"Socket-Type") {
            return Some(value);
        }
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of at most 100 bytes.
    struct Hundred;

    impl Allowance for Hundred {
        fn frame(&mut self, _: usize, length: u64, _: Option<&[u8]>) -> Result<(), Refusal> {
            if length > 100 { Err(Refusal::Busy) } else { Ok(()) }
        }
        fn arrived(&mut self, _: usize) -> Result<(), Refusal> {
            Ok(())
        }
    }

    fn greeting() -> Vec<u8> {
        let mut greeting = vec![0; GREETING];
        (greeting[0], greeting[9], greeting[10], greeting[11]) = (0xff, 0x7f, 3, 1);
        greeting[12..16].copy_from_slice(b"NULL");
        greeting
    }

    /// What becomes of a client that sends `bytes` and goes.
    fn heard(bytes: Vec<u8>) -> Result<(Route, Vec<Vec<u8>>), Fault> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (ours, mut theirs) = tokio::io::duplex(1 << 20);
            theirs.write_all(&bytes).await.unwrap();
            theirs.shutdown().await.unwrap();
            Connection::greet(Box::new(ours)).await?.receive(&mut Hundred).await
        })
    }

    fn ready(kind: &[u8]) -> Vec<u8> {
        command(b"READY", &[property(b"Identity", b""), property(b"socket-type", kind)].concat())
    }

    fn frames(frames: &[&[u8]]) -> Vec<u8> {
        let mut bytes = [greeting(), ready(b"REQ")].concat();
        for (position, frame) in frames.iter().enumerate() {
            push(&mut bytes, if position + 1 < frames.len() { MORE } else { 0 }, frame);
        }
        bytes
    }

    #[test]
    fn requests_come_with_their_route() {
        let (route, request) = heard(frames(&[b"", b"{}", b"tensor"])).unwrap();
        assert_eq!((route.0.len(), request), (0, vec![b"{}".to_vec(), b"tensor".to_vec()]));
        let (route, request) = heard(frames(&[b"a", b"bc", b"", b"x"])).unwrap();
        assert_eq!((route.0, request), (vec![b"a".to_vec(), b"bc".to_vec()], vec![b"x".to_vec()]));
        // A sign of life before it.
        let mut bytes = [greeting(), ready(b"DEALER"), command(b"PING", b"\0\x10hello")].concat();
        push(&mut bytes, MORE, b"");
        push(&mut bytes, 0, b"x");
        assert_eq!(heard(bytes).unwrap().1, [b"x"]);
    }

    #[test]
    fn garbage_is_cut_off() {
        let garbage = |bytes: Vec<u8>, word: &str| {
            let fault = heard(bytes).map(|_| ()).unwrap_err();
            assert!(matches!(&fault, Fault::Garbage(text) if text.contains(word)), "{word}: {fault:?}");
        };
        garbage(b"GET / HTTP/1.1\r\n\r\n".to_vec(), "no ZMTP");
        let mut plain = greeting();
        plain[12..17].copy_from_slice(b"PLAIN");
        garbage(plain, "password");
        garbage([greeting(), ready(b"SUB")].concat(), "not a REQ");
        garbage([greeting(), command(b"READY", b"\xff")].concat(), "not a REQ");
        garbage([greeting(), vec![0, 1, 7]].concat(), "before READY");
        garbage([greeting(), vec![COMMAND | LONG, 0, 0, 0, 1, 0, 0, 0, 0]].concat(), "too long");
        garbage(frames(&[b"x"]), "empty frame");
        garbage(frames(&[&b"a"[..]; 12]), "empty frame");
        garbage([frames(&[]), vec![0x80, 0]].concat(), "unknown kind");
        garbage([frames(&[]), vec![MORE, 0], command(b"PING", b"\0\0")].concat(), "in a message");
    }

    #[test]
    fn what_is_announced_is_not_reserved() {
        let huge =
            [frames(&[]), vec![MORE, 0, LONG, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]].concat();
        assert!(matches!(heard(huge), Err(Fault::Refused(Refusal::Busy))));
        assert!(matches!(heard(frames(&[b"", &[7; 101]])), Err(Fault::Refused(_))));
    }

    #[test]
    fn every_early_end_is_one() {
        let whole = frames(&[b"a", b"", b"{}", &[7; 100]]);
        for length in 0..whole.len() {
            assert!(matches!(heard(whole[..length].to_vec()), Err(Fault::Gone(_))), "{length}");
        }
        assert!(heard(whole).is_ok());
    }
}
