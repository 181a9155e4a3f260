//! Which file an image record of COCO means, and what the image is called here.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use frcnn_files::{MAX_NAME, check_name};

use crate::Id;
use crate::json::Value;

/// The file that a record names.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FileName {
    /// Below the images' folder: folders, then the file's name; each a plain name.
    parts: Vec<String>,
    /// It was made of an address, so the first part may be a folder beside the images' folder.
    of_address: bool,
}

impl FileName {
    /// Of `file_name`, else of `coco_url` (LVIS has no other), else as COCO's own images are called.
    ///
    /// A file's name may have folders, but none above: an image outside the data set is none of it.
    pub(super) fn of(
        id: &Id,
        file_name: Option<&Value>,
        coco_url: Option<&Value>,
    ) -> Result<FileName, String> {
        if let Some(Value::Text(name)) = file_name
            && !name.is_empty()
        {
            return Ok(FileName { parts: parts(name)?, of_address: false });
        }
        if let Some(Value::Text(address)) = coco_url
            && let Some(parts) = of_address(address)
        {
            return Ok(FileName { parts, of_address: true });
        }
        let name = match id {
            Id::Number { whole, fraction: 0 } => format!("{whole:012}.jpg"),
            Id::Number { .. } => format!("{id}.jpg"),
            Id::Text(text) => format!("{text}.jpg"),
        };
        check_name(&name).map_err(|problem| format!("is missing, and the id {problem}"))?;
        Ok(FileName { parts: vec![name], of_address: false })
    }

    /// Where the file is: in the images' `folder`, or below the data set's `root`.
    pub(super) fn path(&self, folder: &Path, root: &Path) -> PathBuf {
        let Some(name) = self.parts.last().filter(|_| self.of_address) else {
            return folder.join(self.parts.iter().collect::<PathBuf>());
        };
        let (beside, usual) = (root.join(self.parts.iter().collect::<PathBuf>()), folder.join(name));
        if beside.is_file() && !usual.is_file() { beside } else { usual }
    }

    fn name(&self) -> &str {
        self.parts.last().map_or("", String::as_str)
    }

    fn stem(&self) -> &str {
        let name = self.name();
        name.rsplit_once('.').map_or(name, |(stem, _)| if stem.is_empty() { name } else { stem })
    }
}

/// The folders and the file of a relative path, whichever system wrote it.
fn parts(path: &str) -> Result<Vec<String>, String> {
    let outside =
        || format!("`{path}` is not inside the images' folder; write it relative to that, without `..`");
    let drive = matches!(path.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
    if path.starts_with(['/', '\\']) || drive {
        return Err(outside());
    }
    let names = path.split(['/', '\\']).filter(|part| !matches!(*part, "" | "."));
    let mut parts = Vec::new();
    for name in names {
        if name == ".." {
            return Err(outside());
        }
        check_name(name).map_err(|problem| format!("`{path}`: a part of it {problem}"))?;
        parts.push(name.to_string());
    }
    if parts.is_empty() { Err(format!("`{path}` names no file")) } else { Ok(parts) }
}

/// The last folder and the file of an address such as `http://images.cocodataset.org/val2017/000000000139.jpg`.
fn of_address(address: &str) -> Option<Vec<String>> {
    let path = address.split(['?', '#']).next()?;
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    let mut from_end = path.rsplit('/');
    let (name, folder) = (from_end.next()?, from_end.next());
    let names = folder.into_iter().chain([name]);
    let parts: Vec<String> = names.map(str::to_string).collect();
    parts.iter().all(|part| check_name(part).is_ok()).then_some(parts)
}

/// What each image is called: by its file's name without the extension. Images that share it are called by the whole
/// name; those that share that, by folders and name; those that share even that, by their id as well.
pub(super) fn stems<'a>(images: impl Iterator<Item = (&'a Id, &'a FileName)>) -> Vec<String> {
    let images: Vec<(&Id, &FileName)> = images.collect();
    let mut levels = vec![0; images.len()];
    let name = |(id, file): (&Id, &FileName), level: u8| match level {
        0 => file.stem().to_string(),
        1 => file.name().to_string(),
        2 => file.parts.join("_"),
        _ => format!("{}-{id}", file.stem().chars().take(MAX_NAME / 8).collect::<String>()),
    };
    let mut names: Vec<String> = images.iter().map(|&image| name(image, 0)).collect();
    for _ in 0..3 {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for name in &names {
            *counts.entry(name).or_default() += 1;
        }
        let shared: Vec<bool> =
            names.iter().map(|name| counts.get(name.as_str()).is_some_and(|&count| count > 1)).collect();
        if !shared.contains(&true) {
            break;
        }
        for (((shared, level), stem), &image) in shared.iter().zip(&mut levels).zip(&mut names).zip(&images) {
            if *shared {
                *level += 1;
                *stem = name(image, *level);
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(id: i64, file_name: &str) -> Result<FileName, String> {
        FileName::of(&Id::from(id), Some(&Value::Text(file_name.to_string())), None)
    }

    #[test]
    fn folders_are_kept_and_ways_out_refused() {
        for (name, path) in
            [("a.jpg", "f/a.jpg"), ("val/./a.jpg", "f/val/a.jpg"), ("val\\a.jpg", "f/val/a.jpg")]
        {
            assert_eq!(named(1, name).unwrap().path(Path::new("f"), Path::new("r")), Path::new(path));
        }
        for name in
            ["/etc/passwd", "../x.jpg", "a/../../x.jpg", "C:\\x.jpg", "\\\\host\\x", "a\0.jpg", "./", "a/.."]
        {
            let problem = named(1, name).unwrap_err();
            assert!(problem.contains(name), "{problem}");
        }
    }

    #[test]
    fn without_a_name_the_address_or_the_id_serves() {
        let address = Value::Text("http://x/val2017/000000000001.jpg?x=/y".to_string());
        let file = FileName::of(&Id::from(1), None, Some(&address)).unwrap();
        assert_eq!(file.path(Path::new("f"), Path::new("r")), Path::new("f/000000000001.jpg"));
        let file = FileName::of(&Id::from(17), Some(&Value::Null), None).unwrap();
        assert_eq!((file.name(), file.stem()), ("000000000017.jpg", "000000000017"));
        let climbing = Id::Text("../x".to_string());
        assert!(FileName::of(&climbing, None, None).unwrap_err().contains("separator"));
    }

    #[test]
    fn every_image_has_a_name_of_its_own() {
        let files = ["a.jpg", "a.png", "b.jpg", "x/c.jpg", "y/c.jpg", "d.jpg", "d.jpg", ".e"];
        let ids: Vec<Id> = (1..=files.len() as i64).map(Id::from).collect();
        let files: Vec<FileName> = files.iter().map(|name| named(1, name).unwrap()).collect();
        let names = stems(ids.iter().zip(&files));
        assert_eq!(names, ["a.jpg", "a.png", "b", "x_c.jpg", "y_c.jpg", "d-6", "d-7", ".e"]);
    }
}
