//! The messages of Frigate's `zmq` detector. Each gets one reply.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;

use crate::budget::Held;
use crate::detect::{Found, Input, Values};
use crate::door::{Door, House};
use crate::refusal::Refusal;
use crate::zmtp::{Allowance, Connection, Fault, Stream};

/// Rows of a reply.
const ROWS: usize = 20;
/// Class, score, top, left, bottom, right.
const COLUMNS: usize = 6;
/// Bytes of the longest header.
const MAX_HEADER: usize = 4096;

/// What stands in a message's first frame.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Header {
    model_request: bool,
    model_data: bool,
    model_name: String,
    shape: Vec<u32>,
    dtype: String,
}

impl Header {
    fn parse(frame: &[u8]) -> Result<Header, Refusal> {
        serde_json::from_slice(frame)
            .map_err(|error| Refusal::Bad(format!("the first frame is no header: {error}")))
    }
}

/// How much a message may bring.
struct Bounds<'a> {
    house: &'a House,
    held: Held,
    /// A bundle comes, which is counted apart.
    bundle: bool,
}

impl Allowance for Bounds<'_> {
    fn frame(&mut self, index: usize, length: u64, first: Option<&[u8]>) -> Result<(), Refusal> {
        let first = first.map(Header::parse).transpose()?;
        self.bundle = first.is_some_and(|header| header.model_data);
        let most = match (index, self.house.models.arriving()) {
            (0, _) => MAX_HEADER,
            (1, Some((most, _))) if self.bundle => most,
            (1, _) => self.house.max_body,
            _ => return Err(Refusal::Bad("a message has one frame or two".to_string())),
        };
        if length > most as u64 {
            return Err(Refusal::TooLarge(format!("a frame of {length} bytes, where {most} are the most")));
        }
        Ok(())
    }

    fn arrived(&mut self, bytes: usize) -> Result<(), Refusal> {
        let budget = match self.house.models.arriving() {
            Some((_, arriving)) if self.bundle => arriving,
            _ => &self.house.budget,
        };
        budget.hold(&mut self.held, bytes)
    }
}

/// One connection.
pub(crate) struct Client {
    house: Arc<House>,
    /// The model that it has asked for.
    model: Option<String>,
}

impl Client {
    pub(crate) fn new(house: Arc<House>) -> Client {
        Client { house, model: None }
    }

    /// Answers message after message, until the client goes or is cut off.
    pub(crate) async fn serve(mut self, stream: Box<dyn Stream>, mut ending: watch::Receiver<bool>) {
        let metrics = self.house.metrics.clone();
        let conversation = async {
            let mut connection = Connection::greet(stream).await?;
            loop {
                let house = self.house.clone();
                let mut bounds = Bounds { house: &house, held: Held::default(), bundle: false };
                let (route, frames) = tokio::select! {
                    message = connection.receive(&mut bounds) => message?,
                    _ = ending.wait_for(|ending| *ending) => return Ok(()),
                };
                let reply = tokio::select! {
                    reply = self.reply(frames, bounds.held) => reply?,
                    () = connection.gone() => return Ok(()),
                };
                connection.reply(route, &reply).await?;
            }
        };
        let outcome: Result<(), Fault> = conversation.await;
        match outcome {
            Ok(()) | Err(Fault::Gone(_)) => {}
            Err(fault) => {
                metrics.garbage();
                if let Fault::Refused(refusal) = &fault {
                    metrics.answered(Door::Zmq, Some(refusal));
                }
                crate::say(format_args!("a ZeroMQ client was cut off: {fault}"));
            }
        }
    }

    async fn reply(&mut self, mut frames: Vec<Vec<u8>>, held: Held) -> Result<Vec<u8>, Fault> {
        let second = if frames.len() > 1 { frames.pop() } else { None };
        let header = frames.first().map_or(Ok(Header::default()), |frame| Header::parse(frame));
        let header = match header {
            Ok(header) => header,
            Err(refusal) => return Ok(self.rows(Err(refusal))),
        };
        if header.model_request {
            return Ok(self.request(header.model_name).await);
        }
        if header.model_data {
            return Ok(self.data(header.model_name, second.unwrap_or_default(), held).await);
        }
        let model = match &self.model {
            None => self.house.models.base.clone(),
            // Without an answer, Frigate's client asks for its model once more.
            Some(name) => self
                .house
                .models
                .ready(name)
                .ok_or(Fault::Garbage("another model has taken the place of its own"))?,
        };
        let outcome = match picture(&header, second) {
            Ok(input) => self.house.queue.ask(input, model, held).await,
            Err(refusal) => Err(refusal),
        };
        Ok(self.rows(outcome))
    }

    /// `model_request`: whether there is a model of that name, and whether it is ready.
    async fn request(&mut self, name: String) -> Vec<u8> {
        let house = self.house.clone();
        let asked = name.clone();
        let found = tokio::task::spawn_blocking(move || house.models.find(&asked)).await;
        let found = found.map_err(|error| error.to_string()).and_then(|found| found);
        if let Err(problem) = &found {
            crate::say(format_args!("Frigate asks for the model {name}, which is not there: {problem}"));
        }
        let ready = found.is_ok();
        self.model = Some(name);
        json!({ "model_available": ready, "model_loaded": ready }).to_string().into_bytes()
    }

    /// `model_data`: a bundle.
    async fn data(&mut self, name: String, bytes: Vec<u8>, held: Held) -> Vec<u8> {
        let house = self.house.clone();
        let asked = name.clone();
        let kept = tokio::task::spawn_blocking(move || {
            let kept = house.models.keep(&asked, &bytes);
            drop((bytes, held));
            kept
        });
        let kept = kept.await;
        let kept = kept.map_err(|error| error.to_string()).and_then(|kept| kept);
        if let Err(problem) = &kept {
            crate::say(format_args!("Frigate's model {name} is refused: {problem}"));
        }
        let ready = kept.is_ok();
        if ready {
            self.model = Some(name);
        }
        json!({ "model_saved": ready, "model_loaded": ready }).to_string().into_bytes()
    }

    /// The reply to a picture: one frame of 480 bytes, which all versions of Frigate's client read. Where there is no answer, no
    /// object is in it: an error has no place there.
    fn rows(&self, outcome: Result<Found, Refusal>) -> Vec<u8> {
        self.house.metrics.answered(Door::Zmq, outcome.as_ref().err());
        if let Err(Refusal::Bad(problem)) = &outcome {
            crate::say(format_args!("a ZeroMQ request cannot be answered: {problem}"));
        }
        let mut rows = [0f32; ROWS * COLUMNS];
        let objects = outcome.unwrap_or_default().objects;
        for (row, object) in rows.chunks_exact_mut(COLUMNS).zip(&objects) {
            let [left, top, right, bottom] = object.edges;
            row.copy_from_slice(&[object.class as f32, object.score, top, left, bottom, right]);
        }
        bytemuck::cast_slice(&rows).to_vec()
    }
}

/// The picture of a request.
fn picture(header: &Header, tensor: Option<Vec<u8>>) -> Result<Input, Refusal> {
    let bad = |problem: String| Err(Refusal::Bad(problem));
    let &[1, height, width, 3] = &header.shape[..] else {
        return bad(format!("field `shape`: {:?} and not [1, H, W, 3] (nhwc, rgb)", header.shape));
    };
    let count = (u64::from(height) * u64::from(width)).saturating_mul(3);
    let size = match &header.dtype[..] {
        "uint8" => 1,
        "float32" => 4,
        other => return bad(format!("field `dtype`: `{other}`, and neither uint8 nor float32")),
    };
    match tensor {
        Some(bytes) if count > 0 && bytes.len() as u64 == count.saturating_mul(size) => {
            let values = if size == 1 { Values::Bytes(bytes) } else { Values::Floats(bytes) };
            Ok(Input::Pixels { width, height, values })
        }
        other => {
            let bytes = other.map_or(0, |bytes| bytes.len());
            bad(format!(
                "the tensor has {bytes} bytes, where its shape {:?} has {}",
                header.shape,
                count.saturating_mul(size)
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(shape: &str, dtype: &str) -> Header {
        let text = format!(r#"{{"shape": {shape}, "dtype": "{dtype}", "model_type": "ssd"}}"#);
        Header::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn tensors_are_as_long_as_their_shape_says() {
        let pixels = picture(&header("[1, 2, 3, 3]", "uint8"), Some(vec![7; 18])).unwrap();
        assert!(matches!(pixels, Input::Pixels { width: 3, height: 2, values: Values::Bytes(_) }));
        let pixels = picture(&header("[1, 2, 3, 3]", "float32"), Some(vec![0; 72])).unwrap();
        assert!(matches!(pixels, Input::Pixels { values: Values::Floats(_), .. }));
        for (shape, dtype, bytes, word) in [
            ("[1, 2, 3, 3]", "uint8", Some(17), "17 bytes"),
            ("[1, 2, 3, 3]", "uint8", None, "0 bytes"),
            ("[1, 0, 3, 3]", "uint8", Some(0), "0 bytes"),
            ("[1, 3, 2, 3]", "float64", Some(144), "dtype"),
            ("[1, 3, 2, 2]", "uint8", Some(12), "shape"),
            ("[2, 3]", "uint8", Some(6), "shape"),
            ("[]", "", None, "shape"),
            ("[1, 4294967295, 4294967295, 3]", "float32", Some(12), "12 bytes"),
        ] {
            let refused = picture(&header(shape, dtype), bytes.map(|bytes| vec![0; bytes]));
            assert!(
                matches!(&refused, Err(Refusal::Bad(text)) if text.contains(word)),
                "{shape}: {refused:?}"
            );
        }
        assert!(Header::parse(br#"{"shape": [-1]}"#).is_err() && Header::parse(b"\0").is_err());
    }
}
