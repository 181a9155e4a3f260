//! What an operation is given, and what it gives.

use std::cell::RefCell;

use frcnn::BBox;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde::de::value::MapDeserializer;
use serde_json::{Map, Value};

use crate::error::{Failure, Kind};

/// An array's memory.
pub(crate) struct Buffer<'a> {
    /// From its first element to its last one, whatever lies between.
    pub(crate) bytes: &'a [u8],
    /// Its dimensions.
    pub(crate) shape: Vec<usize>,
    /// Bytes from element to element in each dimension.
    pub(crate) strides: Vec<usize>,
    /// What an element is, as Python's `struct` names it: `B` is u8, `f` is f32.
    pub(crate) format: String,
}

/// What an operation is given.
pub(crate) struct Call<'a> {
    /// Arguments as JSON; those that are arrays are numbers of `arrays`.
    pub(crate) arguments: &'a str,
    pub(crate) arrays: Vec<Buffer<'a>>,
}

/// What an operation gives.
#[derive(Debug)]
pub(crate) struct Reply {
    /// JSON.
    pub(crate) value: String,
    /// What Python makes arrays of.
    pub(crate) arrays: Vec<Array>,
}

/// Elements one behind the other.
#[derive(Debug)]
pub(crate) enum Array {
    F32(Vec<f32>),
    I64(Vec<i64>),
    U8(Vec<u8>),
}

impl Call<'_> {
    /// The arguments, which Python's part of the package names.
    pub(crate) fn arguments<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        match serde_json::from_str(self.arguments).map_err(|error| wrong("arguments", &error))? {
            Value::Object(keywords) => by_name(keywords),
            other => T::deserialize(other).map_err(|error| wrong("arguments", &error)),
        }
    }

    pub(crate) fn array(&self, number: usize) -> Result<&Buffer<'_>, Failure> {
        let absent = || Failure::new(Kind::Any, format_args!("there is no array {number}"));
        self.arrays.get(number).ok_or_else(absent)
    }

    /// f32 values of a contiguous array, and its dimensions.
    pub(crate) fn floats(&self, number: usize) -> Result<(Vec<f32>, &[usize]), Failure> {
        let Buffer { bytes, shape, strides, format } = self.array(number)?;
        let mut stride = size_of::<f32>();
        let mut contiguous = format == "f";
        for (&length, &step) in shape.iter().zip(strides).rev() {
            contiguous &= step == stride || length <= 1;
            stride = stride.saturating_mul(length);
        }
        if !contiguous || bytes.len() != stride {
            return Err(Failure::new(Kind::Any, "the array is none of float32, one value behind the other"));
        }
        let values = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_ne_bytes(*bytes));
        Ok((values.collect(), shape))
    }

    /// `[N, 4]` f32 as boxes; none where no array is named.
    pub(crate) fn boxes(&self, number: Option<usize>) -> Result<Option<Vec<BBox>>, Failure> {
        let Some(number) = number else { return Ok(None) };
        let (corners, shape) = self.floats(number)?;
        if !matches!(shape, [_, 4]) {
            return Err(Failure::new(Kind::Option, format_args!("boxes have shape [N, 4], not {shape:?}")));
        }
        let boxes = corners.as_chunks::<4>().0.iter().map(|&[x1, y1, x2, y2]| BBox::new(x1, y1, x2, y2));
        Ok(Some(boxes.collect()))
    }
}

/// Keyword arguments; an error names the one that is wrong.
fn by_name<T: DeserializeOwned>(keywords: Map<String, Value>) -> Result<T, Failure> {
    let current = RefCell::new(None);
    let begun = keywords.into_iter().inspect(|(name, _)| {
        current.replace(Some(name.clone()));
    });
    let ended = std::iter::from_fn(|| {
        current.take();
        None
    });
    T::deserialize(MapDeserializer::new(begun.chain(ended)))
        .map_err(|error| wrong(current.take().as_deref().unwrap_or("arguments"), &error))
}

fn wrong(what: &str, error: &serde_json::Error) -> Failure {
    Failure::new(Kind::Option, format_args!("{what}: {error}"))
}

impl Reply {
    pub(crate) fn new(value: &impl Serialize, arrays: Vec<Array>) -> Result<Reply, Failure> {
        let value = serde_json::to_string(value).map_err(|error| Failure::new(Kind::Any, error))?;
        Ok(Reply { value, arrays })
    }

    pub(crate) fn of(value: &impl Serialize) -> Result<Reply, Failure> {
        Reply::new(value, Vec::new())
    }
}

/// `[N, 4]` x1, y1, x2, y2.
pub(crate) fn array_of_boxes<'a>(boxes: impl Iterator<Item = &'a BBox>) -> Array {
    Array::F32(boxes.flat_map(|b| [b.x1, b.y1, b.x2, b.y2]).collect())
}
