//! Boxes from a file.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use frcnn::BBox;
use safetensors::tensor::Metadata;
use safetensors::{Dtype, SafeTensors};

use super::images::Image;
use crate::error::Error;
use crate::files;

/// The boxes for every image.
#[derive(Debug)]
pub(crate) struct Proposals {
    /// Named in errors.
    path: PathBuf,
    boxes: Boxes,
}

/// What a proposals file holds.
#[derive(Debug)]
enum Boxes {
    /// Of a single image.
    One(Vec<BBox>),
    /// By image stem.
    Lists(HashMap<String, Vec<BBox>>),
    /// By image stem, read when they are asked for.
    Tensors { header: Metadata, file: Vec<u8>, data_start: usize },
}

impl Proposals {
    /// Opens a file that is to serve `images` images.
    pub(crate) fn open(path: &Path, images: usize) -> Result<Proposals, Error> {
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        let parse: fn(Vec<u8>) -> Result<Boxes, String> = match extension.to_str() {
            Some("safetensors") => from_safetensors,
            Some("json") => from_json,
            _ => return Err(Error::file(path, "proposals are a .safetensors or a .json file")),
        };
        let boxes = parse(files::read(path)?).map_err(|problem| Error::file(path, problem))?;
        if matches!(boxes, Boxes::One(_)) && images != 1 {
            let problem = format!(
                "has the boxes of one image, but there are {images}; use {{\"STEM\": [[x1, y1, x2, y2], ...], ...}}"
            );
            return Err(Error::file(path, problem));
        }
        Ok(Proposals { path: path.to_path_buf(), boxes })
    }

    /// The boxes for one image.
    pub(crate) fn of(&self, image: &Image) -> Result<Cow<'_, [BBox]>, Error> {
        let Proposals { path, boxes } = self;
        let in_file = |problem: String| Error::file(&image.path, format!("{}: {problem}", path.display()));
        let absent = || in_file(format!("has no boxes for `{}` (keys are image stems)", image.stem));
        match boxes {
            Boxes::One(boxes) => Ok(boxes.into()),
            Boxes::Lists(lists) => lists.get(&image.stem).map(Cow::from).ok_or_else(absent),
            Boxes::Tensors { header, file, data_start } => {
                let tensor = header.info(&image.stem).ok_or_else(absent)?;
                let (from, to) = tensor.data_offsets;
                let bytes = file.get(data_start + from..data_start + to).unwrap_or_default();
                let boxes = from_tensor(tensor.dtype, &tensor.shape, bytes);
                boxes.map(Cow::from).map_err(|problem| in_file(format!("`{}` {problem}", image.stem)))
            }
        }
    }
}

fn from_safetensors(file: Vec<u8>) -> Result<Boxes, String> {
    let (header_len, header) = SafeTensors::read_metadata(&file)
        .map_err(|error| format!("not a safetensors file, or damaged: {error}"))?;
    // Before the header stands its length.
    let data_start = header_len + size_of::<u64>();
    Ok(Boxes::Tensors { header, file, data_start })
}

fn from_tensor(dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Result<Vec<BBox>, String> {
    if !matches!(shape, [_, 4]) {
        return Err(format!("has shape {shape:?}, not [N, 4]"));
    }
    match dtype {
        Dtype::U16 => Ok(rows(bytes, |v| f32::from(u16::from_le_bytes(v)))),
        Dtype::I32 => Ok(rows(bytes, |v| i32::from_le_bytes(v) as f32)),
        Dtype::I64 => Ok(rows(bytes, |v| i64::from_le_bytes(v) as f32)),
        Dtype::F32 => Ok(rows(bytes, f32::from_le_bytes)),
        other => Err(format!("has values of type {other:?}, not U16, I32, I64 or F32")),
    }
}

/// Four values of `N` bytes each per box.
fn rows<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<BBox> {
    let (values, _) = bytes.as_chunks::<N>();
    let (boxes, _) = values.as_chunks::<4>();
    boxes.iter().map(|corners| bbox(corners.map(&value))).collect()
}

fn from_json(file: Vec<u8>) -> Result<Boxes, String> {
    let wrong = |error: serde_json::Error| format!("not boxes as [x1, y1, x2, y2]: {error}");
    // Decided here and not by trying both: the message then says where in the file the mistake is.
    if file.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        let boxes: Vec<[f32; 4]> = serde_json::from_slice(&file).map_err(wrong)?;
        return Ok(Boxes::One(boxes.into_iter().map(bbox).collect()));
    }
    let lists: HashMap<String, Vec<[f32; 4]>> = serde_json::from_slice(&file).map_err(wrong)?;
    Ok(Boxes::Lists(
        lists.into_iter().map(|(stem, boxes)| (stem, boxes.into_iter().map(bbox).collect())).collect(),
    ))
}

fn bbox([x1, y1, x2, y2]: [f32; 4]) -> BBox {
    BBox::new(x1, y1, x2, y2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::{TensorView, serialize};

    const EXPECTED: [BBox; 2] = [BBox::new(1.0, 2.0, 3.0, 4.0), BBox::new(5.0, 6.0, 700.0, 8.0)];

    fn image(stem: &str) -> Image {
        Image { path: format!("photos/{stem}.jpg").into(), stem: stem.to_string() }
    }

    fn open(name: &str, bytes: &[u8], images: usize) -> Result<Proposals, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        Proposals::open(&path, images)
    }

    fn tensors(dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Vec<u8> {
        serialize([("a", TensorView::new(dtype, shape.to_vec(), bytes).unwrap())], None).unwrap()
    }

    fn bytes<T, const N: usize>(to_bytes: fn(T) -> [u8; N], values: [T; 8]) -> Vec<u8> {
        values.into_iter().flat_map(to_bytes).collect()
    }

    #[test]
    fn every_type_of_tensor_gives_the_same_boxes() {
        for (dtype, bytes) in [
            (Dtype::U16, bytes(u16::to_le_bytes, [1, 2, 3, 4, 5, 6, 700, 8])),
            (Dtype::I32, bytes(i32::to_le_bytes, [1, 2, 3, 4, 5, 6, 700, 8])),
            (Dtype::I64, bytes(i64::to_le_bytes, [1, 2, 3, 4, 5, 6, 700, 8])),
            (Dtype::F32, bytes(f32::to_le_bytes, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 700.0, 8.0])),
        ] {
            let proposals = open("p.safetensors", &tensors(dtype, &[2, 4], &bytes), 1).unwrap();
            assert_eq!(*proposals.of(&image("a")).unwrap(), EXPECTED, "{dtype:?}");
        }
    }

    #[test]
    fn a_tensor_that_is_absent_or_of_another_kind_is_an_error_of_that_image() {
        let file = tensors(Dtype::U16, &[4, 2], &[0; 16]);
        let proposals = open("p.safetensors", &file, 2).unwrap();
        let error = proposals.of(&image("b")).unwrap_err().to_string();
        assert!(error.starts_with("photos/b.jpg: ") && error.contains("no boxes for `b`"), "{error}");
        let error = proposals.of(&image("a")).unwrap_err().to_string();
        assert!(error.contains("`a` has shape [4, 2], not [N, 4]"), "{error}");

        let proposals = open("p.safetensors", &tensors(Dtype::F64, &[1, 4], &[0; 32]), 1).unwrap();
        let error = proposals.of(&image("a")).unwrap_err().to_string();
        assert!(error.contains("type F64, not U16, I32, I64 or F32"), "{error}");
    }

    #[test]
    fn json_by_stem_and_for_one_image() {
        let list = "[[1, 2, 3, 4], [5, 6, 7e2, 8]]";
        let one = open("p.json", list.as_bytes(), 1).unwrap();
        assert_eq!(*one.of(&image("any")).unwrap(), EXPECTED);
        let keyed = open("p.JSON", format!(" {{\"a\": {list}}}").as_bytes(), 5).unwrap();
        assert_eq!(*keyed.of(&image("a")).unwrap(), EXPECTED);
        assert!(keyed.of(&image("b")).unwrap_err().to_string().contains("no boxes for `b`"));
    }

    #[test]
    fn files_that_cannot_serve_are_refused_at_once() {
        for (name, content, images, word) in [
            ("p.json", "[[1, 2, 3, 4]]", 2, "boxes of one image, but there are 2"),
            ("p.json", "[[1, 2, 3]]", 1, "line 1 column 10"),
            ("p.json", "{\"a\": [1, 2, 3, 4]}", 1, "line 1"),
            ("p.json", "", 1, "EOF"),
            ("p.safetensors", "not one", 1, "not a safetensors file"),
            ("p.mat", "", 1, ".safetensors or a .json"),
        ] {
            let error = open(name, content.as_bytes(), images).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains(name), "{content}: {error}");
        }
    }

    #[test]
    fn a_truncated_tensor_file_is_refused() {
        let file = tensors(Dtype::U16, &[2, 4], &[0; 16]);
        for len in 0..file.len() {
            assert!(open("p.safetensors", &file[..len], 1).is_err(), "{len} bytes");
        }
    }
}
