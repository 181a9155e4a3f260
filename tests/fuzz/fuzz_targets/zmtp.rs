//! What a ZeroMQ client sends, as the service's REP socket hears it: at once, in pieces, and sent again.
#![no_main]
#![allow(clippy::unwrap_used, reason = "a failure here is a finding")]

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use frcnn_fuzz::seed;
use frcnn_serve::Refusal;
use frcnn_serve::zmtp::{Allowance, Connection, Fault};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Builder, Runtime};

/// Bytes of the longest frame, and of all frames of a message.
const FRAME: u64 = 1 << 14;
const ALL: usize = 3 << 13;
const FRAMES: usize = 4;

/// A client that sends some bytes at a time, and goes.
struct Client {
    sends: Vec<u8>,
    at: usize,
    piece: usize,
    gets: Arc<Mutex<Vec<u8>>>,
}

impl AsyncRead for Client {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = &self.sends[self.at..];
        let count = left.len().min(self.piece).min(to.remaining());
        to.put_slice(&left[..count]);
        self.at += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Client {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.gets.lock().unwrap().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What one message may bring.
#[derive(Default)]
struct Limits {
    announced: u64,
}

impl Allowance for Limits {
    fn frame(&mut self, index: usize, length: u64, first: Option<&[u8]>) -> Result<(), Refusal> {
        assert_eq!(index == 0, first.is_none());
        if index >= FRAMES || length > FRAME {
            return Err(Refusal::TooLarge("a frame too many, or too long".into()));
        }
        self.announced += length;
        Ok(())
    }

    fn arrived(&mut self, bytes: usize) -> Result<(), Refusal> {
        assert!(bytes as u64 <= self.announced, "{bytes} bytes of {}", self.announced);
        if bytes > ALL { Err(Refusal::Busy) } else { Ok(()) }
    }
}

/// Requests, how it ended, and what the client was sent.
#[derive(Debug, PartialEq)]
struct Heard {
    requests: Vec<Vec<Vec<u8>>>,
    end: String,
    gets: Vec<u8>,
}

async fn converse(client: Client, requests: &mut Vec<Vec<Vec<u8>>>) -> Fault {
    let mut connection = match Connection::greet(Box::new(client)).await {
        Ok(connection) => connection,
        Err(fault) => return fault,
    };
    loop {
        match connection.receive(&mut Limits::default()).await {
            Ok((route, frames)) => {
                let bytes: usize = frames.iter().map(Vec::len).sum();
                assert!((1..=FRAMES).contains(&frames.len()) && bytes <= ALL);
                connection.reply(route, &frames[0]).await.unwrap();
                requests.push(frames);
            }
            Err(fault) => return fault,
        }
    }
}

fn heard(bytes: &[u8], piece: usize) -> Heard {
    thread_local! {
        static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().unwrap();
    }
    let gets = Arc::<Mutex<Vec<u8>>>::default();
    let client = Client { sends: bytes.to_vec(), at: 0, piece, gets: gets.clone() };
    let mut requests = Vec::new();
    let end = RUNTIME.with(|runtime| runtime.block_on(converse(client, &mut requests))).to_string();
    let gets = gets.lock().unwrap().clone();
    Heard { requests, end, gets }
}

fn greeting() -> Vec<u8> {
    let mut greeting = vec![0; 64];
    (greeting[0], greeting[9], greeting[10]) = (0xff, 0x7f, 3);
    greeting[12..16].copy_from_slice(b"NULL");
    greeting.extend(b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03REQ");
    greeting
}

/// What a REQ socket sends.
fn sent(requests: &[Vec<Vec<u8>>]) -> Vec<u8> {
    let mut bytes = greeting();
    for frames in requests {
        bytes.extend([1, 0]);
        for (i, frame) in frames.iter().enumerate() {
            bytes.push(2 | u8::from(i + 1 < frames.len()));
            bytes.extend((frame.len() as u64).to_be_bytes());
            bytes.extend_from_slice(frame);
        }
    }
    bytes
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let header = br#"{"shape": [1, 2, 2, 3], "dtype": "uint8", "model_type": "ssd"}"#.to_vec();
    let one = vec![header, vec![7; 12]];
    let with = |bytes: &[u8]| [&greeting(), bytes].concat();
    vec![
        ("two".into(), sent(&[one.clone(), one])),
        ("long".into(), sent(&[vec![b"{}".to_vec(), vec![1; 3000]]])),
        ("short frames".into(), with(b"\x01\0\x01\x02{}\0\x03abc")),
        ("routed".into(), with(b"\x01\x01a\x01\x02bc\x01\0\0\x01x")),
        ("sign of life".into(), with(b"\x04\x0c\x04PING\0\x10hello\x01\0\0\x01x")),
        ("announced".into(), with(b"\x01\0\x02\x7f\xff\xff\xff\xff\xff\xff\xff")),
        ("http".into(), b"GET / HTTP/1.1\r\n\r\n".to_vec()),
    ]
}

fuzz_target!(
    init: { seed(seeds); },
    |input: &[u8]| {
        let whole = heard(input, usize::MAX);
        assert!(whole.requests.iter().flatten().map(Vec::len).sum::<usize>() <= input.len());
        let pieces = heard(input, 1 + input.len() % 7);
        assert_eq!(whole, pieces);
        let again = heard(&sent(&whole.requests), usize::MAX);
        assert_eq!(again.requests, whole.requests);
    }
);
