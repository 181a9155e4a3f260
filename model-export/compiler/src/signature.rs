//! What a file is that is no ONNX model, by how it begins: what people give in its place.

/// Bytes at a place of the file, and what such a file is and what to do.
const KNOWN: [(usize, &[u8], &str); 9] = [
    (0, b"version https://git-lfs", "it is a Git LFS pointer; `git lfs pull` fetches the model"),
    (
        0,
        b"PK\x03\x04",
        "it is a zip archive, such as torch.save makes of a PyTorch model: export that as ONNX first (model-export/pytorch/export.py)",
    ),
    (
        0,
        b"\x80\x02",
        "it is a pickle, such as torch.save made of a PyTorch model: export that as ONNX first (model-export/pytorch/export.py)",
    ),
    (0, b"\x1f\x8b", "it is compressed with gzip: unpack it first"),
    (4, b"ORTM", "it is in ONNX Runtime's own format (.ort): give the .onnx file that it was made of"),
    (4, b"TFL3", "it is a TensorFlow Lite model: export the model as ONNX"),
    (0, b"\x89HDF\r\n", "it is an HDF5 file, such as Keras saves: export the model as ONNX"),
    (
        0,
        b"\x89FRCNN\r\n",
        "it is a bundle already, or what goes with one; the ONNX file that it was made of is read here",
    ),
    (0, b"<!DOCTYPE", "it is a web page: was it downloaded by the link of a page?"),
];

/// What the file is, if it is one of those.
pub(crate) fn of(bytes: &[u8]) -> Option<&'static str> {
    if bytes.is_empty() {
        return Some("it is empty");
    }
    let begins =
        |place: usize, signature: &[u8]| bytes.get(place..).is_some_and(|rest| rest.starts_with(signature));
    KNOWN.iter().find(|(place, signature, _)| begins(*place, signature)).map(|(_, _, what)| *what)
}
