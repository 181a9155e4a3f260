//! What a command is to write, held against all that it reads, before hours of work.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use frcnn::Tuning;
use frcnn_core::Printable;
#[cfg(feature = "compile")]
use frcnn_eval::{Dataset, Location};
use frcnn_files::{FileId, folder_of};
use frcnn_images::Folder;

use crate::error::Error;

/// What a command reads.
#[cfg_attr(not(feature = "compile"), allow(dead_code, reason = "for commands that make bundles"))]
pub(crate) enum Input<'a> {
    /// A file, which need not be there yet.
    File(&'a Path),
    /// A bundle and what was measured of it, or an ONNX file and those in which it keeps tensors.
    Model(&'a Path),
    /// A photo, or a folder of them.
    Photos(&'a Path),
    /// A data set, and the boxes of its images.
    #[cfg(feature = "compile")]
    DataSet { location: Location, boxes: Option<PathBuf> },
}

impl Input<'_> {
    /// The files that there are. What cannot be listed cannot be read either, which the command tells by itself.
    fn files(&self) -> Vec<PathBuf> {
        match self {
            Input::File(path) => vec![path.to_path_buf()],
            Input::Model(path) => [vec![path.to_path_buf()], beside(path)].concat(),
            Input::Photos(path) if path.is_dir() => {
                let Folder { images, special } = Folder::read(path).unwrap_or_default();
                [images, special].concat()
            }
            Input::Photos(path) => vec![path.to_path_buf()],
            #[cfg(feature = "compile")]
            Input::DataSet { location, boxes } => {
                let mut files = Dataset::files(location).unwrap_or_default();
                files.push(location.root.clone());
                files.extend(boxes.clone());
                files
            }
        }
    }
}

/// What is read with a model.
fn beside(model: &Path) -> Vec<PathBuf> {
    #[cfg(feature = "compile")]
    if model.extension().is_some_and(|extension| extension == "onnx") {
        return frcnn_compiler::external_files(model);
    }
    vec![Tuning::path(model)]
}

/// Whether the files can be written, are several, and none of them is read.
#[cfg_attr(not(feature = "compile"), allow(dead_code, reason = "for commands that make bundles"))]
pub(crate) fn check_outputs(outputs: &[&Path], inputs: &[Input]) -> Result<(), Error> {
    let mut written = HashMap::new();
    for output in outputs {
        check_folder_of(output)?;
        if output.is_dir() {
            return Err(Error::file(output, "is a folder; name a file"));
        }
        if written.insert(FileId::of(output), output).is_some() {
            return Err(Error::file(output, "is to be written twice; name another file"));
        }
    }
    // What is not there is none of the files that folders have.
    let replaces = outputs.iter().any(|output| output.exists());
    for input in inputs {
        if !replaces && !matches!(input, Input::File(_)) {
            continue;
        }
        if let Some(output) = input.files().iter().find_map(|file| written.get(&FileId::of(file))) {
            return Err(Error::file(output, "is read as well; name another file to write"));
        }
    }
    Ok(())
}

/// The same for one file.
pub(crate) fn check_output(output: &Path, inputs: &[Input]) -> Result<(), Error> {
    check_outputs(&[output], inputs)
}

/// The same for a folder of text files: neither it nor a text file in it is read.
#[cfg(feature = "compile")]
pub(crate) fn check_text_folder(folder: &Path, inputs: &[Input]) -> Result<(), Error> {
    if !folder.exists() {
        return Ok(());
    }
    let written = FileId::of(folder);
    let lies_there = |file: &PathBuf| {
        file.extension().is_some_and(|extension| extension == "txt") && FileId::of(folder_of(file)) == written
    };
    if inputs.iter().flat_map(Input::files).any(|file| FileId::of(&file) == written || lies_there(&file)) {
        return Err(Error::file(folder, "is read as well; name another folder to write"));
    }
    Ok(())
}

/// Whether there is a folder for what is to be made at `path`.
pub(crate) fn check_folder_of(path: &Path) -> Result<(), Error> {
    let folder = folder_of(path);
    if folder.is_dir() {
        return Ok(());
    }
    Err(Error::file(path, format!("the folder {} does not exist", Printable(folder.display()))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn refused(outputs: &[&Path], inputs: &[Input]) -> String {
        check_outputs(outputs, inputs).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_written_is_found_out_before() {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("model.frcnn");
        fs::write(&input, "").unwrap();
        let problem = |path: &Path| refused(&[path], &[Input::Model(&input)]);
        assert!(problem(&folder.path().join("absent/b.frcnn")).contains("absent does not exist"));
        assert!(problem(folder.path()).contains("is a folder"));
        assert!(problem(&folder.path().join(".").join("model.frcnn")).contains("is read as well"));
        let new = folder.path().join("b.frcnn");
        assert!(check_output(&new, &[Input::Model(&input)]).is_ok());
        let twice = [folder.path().join("a"), folder.path().join("./a")];
        assert!(refused(&[&twice[0], &twice[1]], &[]).contains("written twice"));
        assert!(check_output(Path::new("b.frcnn"), &[Input::File(&input)]).is_ok());
        // What is to be written and read again, and is not there yet.
        let run = folder.path().join("run.jsonl");
        let again = folder.path().join("./run.jsonl");
        assert!(refused(&[&again], &[Input::File(&run)]).contains("is read as well"));
    }

    #[test]
    fn what_folders_have_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (photo, page) = (folder.path().join("a.jpg"), folder.path().join("page.html"));
        fs::write(&photo, "").unwrap();
        fs::write(&page, "").unwrap();
        let photos = [Input::Photos(folder.path())];
        assert!(refused(&[&photo], &photos).contains("a.jpg: is read as well"));
        assert!(check_output(&page, &photos).is_ok());
        #[cfg(unix)]
        {
            let link = folder.path().join("link");
            std::os::unix::fs::symlink("a.jpg", &link).unwrap();
            assert!(refused(&[&link], &photos).contains("link: is read as well"));
        }
    }
}
