//! How many parts a file has, before it is decoded: a part of two bytes becomes a record of hundreds.

use crate::error::Problem;

/// Strings, tensors, nodes, attributes and the like, at every depth that matters.
const MAX_PARTS: usize = 1_000_000;

/// The fields that have parts of their own, by message: their numbers in `onnx.proto`, and which message they are.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Function,
    /// Any other: types, dimensions, key and value.
    Small(u8),
    /// Bytes, text or packed numbers.
    Leaf,
}

impl Message {
    fn field(self, number: u64) -> Message {
        use Message::{Attribute, Function, Graph, Leaf, Model, Node, Small, Tensor};
        match (self, number) {
            (Model, 7) => Graph,
            (Model, 25) => Function,
            (Model, 8 | 14 | 20) => Small(0),
            (Graph, 1) | (Function, 7) => Node,
            (Graph, 5) => Tensor,
            (Graph, 11..=13) => Small(0),
            (Graph, 14 | 15) | (Function, 9) => Small(0),
            (Node, 5) => Attribute,
            (Attribute, 5 | 10) => Tensor,
            (Attribute, 6 | 11) => Graph,
            (Attribute, 14 | 15 | 22 | 23) => Small(0),
            (Tensor, 13) => Small(0),
            // A value's type, its tensor, its shape, a dimension: four levels.
            (Small(depth), 1 | 2) if depth < 4 => Small(depth + 1),
            _ => Leaf,
        }
    }
}

/// Refuses a file of too many parts; one that is no protobuf is left to the decoder.
pub(crate) fn check_fields(bytes: &[u8]) -> Result<(), Problem> {
    let mut parts = 0;
    let mut open = vec![(Message::Model, bytes)];
    while let Some((message, mut bytes)) = open.pop() {
        while let Some((number, field, rest)) = next(bytes) {
            bytes = rest;
            let Some(field) = field else { continue };
            parts += 1;
            if parts > MAX_PARTS {
                return Err(Problem::Limit(format!(
                    "the file has more than {MAX_PARTS} nodes, attributes, tensors and names"
                )));
            }
            match message.field(number) {
                Message::Leaf => {}
                inner => open.push((inner, field)),
            }
        }
    }
    Ok(())
}

/// A field's number, its bytes if it has a length, and what comes after it.
type Field<'a> = (u64, Option<&'a [u8]>, &'a [u8]);

fn next(bytes: &[u8]) -> Option<Field<'_>> {
    let (key, rest) = varint(bytes)?;
    let skip = |len: usize| Some((key >> 3, None, rest.get(len..)?));
    match key & 7 {
        0 => Some((key >> 3, None, varint(rest)?.1)),
        1 => skip(8),
        2 => {
            let (len, rest) = varint(rest)?;
            let (field, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
            Some((key >> 3, Some(field), rest))
        }
        3 | 4 => Some((key >> 3, None, rest)),
        5 => skip(4),
        _ => None,
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (position, &byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * position);
        if byte < 0x80 {
            return Some((value, bytes.get(position + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field with a length.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut len = bytes.len();
        let mut out = vec![number << 3 | 2];
        while len >= 0x80 {
            out.push(len as u8 | 0x80);
            len >>= 7;
        }
        out.push(len as u8);
        [out, bytes.to_vec()].concat()
    }

    #[test]
    fn many_empty_parts_are_refused_at_every_depth() {
        let many = |number: u8| [number << 3 | 2, 0].repeat(MAX_PARTS);
        for graph in
            [many(1), field(1, &many(1)), field(1, &field(5, &many(9))), field(11, &field(2, &many(1)))]
        {
            let error = check_fields(&field(7, &graph)).unwrap_err().to_string();
            assert!(error.contains("1000000"), "{error}");
        }
    }

    #[test]
    fn others_are_left_to_the_decoder() {
        let weights = field(7, &field(5, &field(9, &[0x0a; 4_000_000])));
        for bytes in [&[][..], &[0xff; 20], &[0x3a, 0xff, 0xff], &weights] {
            check_fields(bytes).unwrap();
        }
    }
}
