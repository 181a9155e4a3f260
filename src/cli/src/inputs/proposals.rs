//! Boxes from a file.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use frcnn::BBox;
use frcnn_core::Printable;
use frcnn_proposals::{BoxFile, BoxFileError};

use super::images::ImageFile;
use crate::error::Error;
use crate::files;

/// The boxes for every image.
#[derive(Debug)]
pub(crate) struct ProposalFile {
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
    Tensors(BoxFile),
}

impl ProposalFile {
    /// Opens a file that is to serve `images` images.
    pub(crate) fn open(path: &Path, images: usize) -> Result<ProposalFile, Error> {
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
        Ok(ProposalFile { path: path.to_path_buf(), boxes })
    }

    /// The boxes for one image.
    pub(crate) fn of(&self, image: &ImageFile) -> Result<Cow<'_, [BBox]>, Error> {
        let ProposalFile { path, boxes } = self;
        let in_file =
            |problem: String| Error::file(&image.path, format!("{}: {problem}", Printable(path.display())));
        match boxes {
            Boxes::One(boxes) => Ok(boxes.into()),
            Boxes::Lists(lists) => {
                let absent = || BoxFileError::Absent(image.stem.clone()).to_string();
                lists.get(&image.stem).map(Cow::from).ok_or_else(|| in_file(absent()))
            }
            Boxes::Tensors(file) => {
                file.boxes(&image.stem).map(Cow::from).map_err(|problem| in_file(problem.to_string()))
            }
        }
    }
}

fn from_safetensors(file: Vec<u8>) -> Result<Boxes, String> {
    BoxFile::parse(file).map(Boxes::Tensors).map_err(|problem| problem.to_string())
}

fn from_json(file: Vec<u8>) -> Result<Boxes, String> {
    let wrong = |error: serde_json::Error| format!("not boxes as [x1, y1, x2, y2]: {error}");
    let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&file);
    // Decided here and not by trying both: the message then says where in the file the mistake is.
    if file.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        let boxes: Vec<[f32; 4]> = serde_json::from_slice(file).map_err(wrong)?;
        return Ok(Boxes::One(boxes.into_iter().map(bbox).collect()));
    }
    let lists: HashMap<String, Vec<[f32; 4]>> = serde_json::from_slice(file).map_err(wrong)?;
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
    use safetensors::tensor::{Dtype, TensorView, serialize};

    const EXPECTED: [BBox; 2] = [BBox::new(1.0, 2.0, 3.0, 4.0), BBox::new(5.0, 6.0, 700.0, 8.0)];

    fn image(stem: &str) -> ImageFile {
        ImageFile { path: format!("photos/{stem}.jpg").into(), stem: stem.to_string() }
    }

    fn open(name: &str, bytes: &[u8], images: usize) -> Result<ProposalFile, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        ProposalFile::open(&path, images)
    }

    #[test]
    fn tensors_by_stem() {
        let bytes: Vec<u8> = [1u16, 2, 3, 4, 5, 6, 700, 8].into_iter().flat_map(u16::to_le_bytes).collect();
        let tensor = TensorView::new(Dtype::U16, vec![2, 4], &bytes).unwrap();
        let proposals = open("p.safetensors", &serialize([("a", tensor)], None).unwrap(), 2).unwrap();
        assert_eq!(*proposals.of(&image("a")).unwrap(), EXPECTED);
        let error = proposals.of(&image("b")).unwrap_err().to_string();
        assert!(error.starts_with("photos/b.jpg: ") && error.contains("no boxes for `b`"), "{error}");
    }

    #[test]
    fn json_by_stem_and_for_one_image() {
        let list = "[[1, 2, 3, 4], [5, 6, 7e2, 8]]";
        let one = open("p.json", list.as_bytes(), 1).unwrap();
        assert_eq!(*one.of(&image("any")).unwrap(), EXPECTED);
        let keyed = open("p.JSON", format!("\u{feff} {{\"a\": {list}}}").as_bytes(), 5).unwrap();
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
}
