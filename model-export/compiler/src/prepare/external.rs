//! Tensors that a model keeps in files beside it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use frcnn_files::folder_of;
use tract_onnx::pb::{GraphProto, TensorProto};

/// Where the files lie: beside the model, and, where the model is a symbolic link, beside what it leads to.
///
/// The files themselves may be symbolic links to anywhere, as hubs' caches have them. A path in the model leads down from
/// the folder only: neither upwards nor from the root.
pub(crate) struct Folders(Vec<PathBuf>);

impl Folders {
    /// Of the model at `path`.
    pub(crate) fn of(path: &Path) -> Folders {
        let mut folders = vec![folder_of(path).to_path_buf()];
        folders.extend(fs::canonicalize(path).ok().map(|target| folder_of(&target).to_path_buf()));
        Folders(folders)
    }

    /// The `len` bytes of `tensor`.
    pub(super) fn read(&self, tensor: &TensorProto, len: u64) -> Result<Vec<u8>, String> {
        let number = |key: &str| {
            entry(tensor, key)
                .map(|text| text.parse::<u64>().map_err(|_| format!("its {key} `{text}` is not a number")))
        };
        let location = entry(tensor, "location").filter(|location| !location.is_empty());
        let location = location.ok_or("it lies in another file, which is not named")?;
        let offset = number("offset").transpose()?.unwrap_or(0);
        if let Some(stated) = number("length").transpose()?
            && stated != len
        {
            return Err(format!("it has {stated} bytes in `{location}`, but its shape makes {len}"));
        }
        let mut parts = Path::new(location).components();
        if !parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err(format!(
                "it lies in `{location}`, which is not a path below the model's folder; save the model again with its \
                 data beside it, or put a symbolic link there"
            ));
        }
        let path = self.find(location).ok_or("it has no folder")?;
        read_part(&path, offset, len).map_err(|problem| format!("it lies in {}: {problem}", path.display()))
    }

    /// Where a file lies that the model names.
    fn find(&self, location: &str) -> Option<PathBuf> {
        let paths: Vec<PathBuf> = self.0.iter().map(|folder| folder.join(location)).collect();
        paths.iter().find(|path| path.exists()).or(paths.first()).cloned()
    }

    /// The files that tensors of `graph` name, each once.
    pub(crate) fn files(&self, graph: &GraphProto) -> Vec<PathBuf> {
        let attributes = graph.node.iter().flat_map(|node| &node.attribute);
        let tensors = attributes.flat_map(|attribute| attribute.t.iter().chain(&attribute.tensors));
        let named: BTreeSet<&str> =
            tensors.chain(&graph.initializer).filter_map(|tensor| entry(tensor, "location")).collect();
        named.into_iter().filter_map(|location| self.find(location)).collect()
    }
}

fn entry<'a>(tensor: &'a TensorProto, key: &str) -> Option<&'a str> {
    tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str())
}

fn read_part(path: &Path, offset: u64, len: u64) -> Result<Vec<u8>, String> {
    let (mut file, size) = frcnn_files::open_regular(path).map_err(|error| error.to_string())?;
    if offset.checked_add(len).is_none_or(|end| end > size) {
        return Err(format!(
            "the file has {size} bytes, and {len} are to be read from {offset} on; is it complete?"
        ));
    }
    file.seek(SeekFrom::Start(offset))
        .and_then(|_| frcnn_files::read_exactly(file, len))
        .map_err(|error| error.to_string())
}
