//! `--emit`: the network as part of a program.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use frcnn_bundle::Bundle;
use frcnn_compiler::{ProgramKind, ProgramOptions, emit_program};
use frcnn_files::{FileId, StagedFolder, folder_of};

use super::Args;
use crate::error::Error;

/// The crate `frcnn` of the work tree that this command was built from.
const RUNTIME: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime");

/// One kind of files, and the folder that they go to.
pub(super) struct Emit<'a> {
    kind: ProgramKind,
    dir: &'a Path,
    frcnn: Option<PathBuf>,
}

impl<'a> Emit<'a> {
    /// What the command line asks for, where the folders can take it.
    pub(super) fn all(args: &'a Args) -> Result<Vec<Emit<'a>>, Error> {
        let mut all: Vec<Emit> = Vec::new();
        for pair in args.emit.chunks_exact(2) {
            let [kind, dir] = pair else { continue };
            let known = ProgramKind::ALL.into_iter().find(|known| *kind == *known.name());
            let kind = known.ok_or_else(|| {
                Error::Usage("--emit KIND DIR: KIND is `crate`, for Rust, or `c`".to_string())
            })?;
            let dir = Path::new(dir);
            kind.check_folder(dir).map_err(|problem| Error::file(dir, problem))?;
            crate::outputs::check_folder_of(dir)?;
            let mut written = all.iter().map(|other| other.dir).chain(args.output.as_deref());
            if written.any(|other| FileId::of(other) == FileId::of(dir)) {
                return Err(Error::file(dir, "is to be written twice; name another folder"));
            }
            all.push(Emit { kind, dir, frcnn: frcnn(args)? });
        }
        Ok(all)
    }

    /// Refuses other files that are to be written in its folder, of which each is one that it writes or none of its own.
    pub(super) fn check_others(&self, written: &[&Path]) -> Result<(), Error> {
        let dir = FileId::of(self.dir);
        for path in written {
            let folder = folder_of(path).canonicalize().map_err(|error| Error::file(path, error))?;
            if folder.ancestors().any(|folder| FileId::of(folder) == dir) {
                let problem = "lies in the folder that --emit writes; name a file elsewhere";
                return Err(Error::file(path, problem));
            }
        }
        Ok(())
    }

    pub(super) fn dir(&self) -> &'a Path {
        self.dir
    }

    /// Writes the files beside their folder.
    pub(super) fn stage(&self, bundle: &Arc<Bundle>, report: &str) -> Result<StagedFolder, Error> {
        let options = ProgramOptions { dir: self.dir, frcnn: self.frcnn.as_deref(), report };
        let program = emit_program(self.kind, bundle, &options);
        let program = program.map_err(|problem| Error::file(self.dir, problem))?;
        program.stage(self.dir).map_err(|error| Error::file(self.dir, error))
    }
}

/// The crate `frcnn` that an emitted one depends on.
fn frcnn(args: &Args) -> Result<Option<PathBuf>, Error> {
    let has_crate = |path: &Path| path.join("Cargo.toml").is_file();
    let path = match &args.frcnn_path {
        Some(path) if !has_crate(path) => {
            return Err(Error::file(
                path,
                "has no Cargo.toml; --frcnn-path is the folder of the crate frcnn, src/runtime",
            ));
        }
        Some(path) => path,
        None if !has_crate(Path::new(RUNTIME)) => return Ok(None),
        None => Path::new(RUNTIME),
    };
    path.canonicalize().map(Some).map_err(|error| Error::file(path, error))
}
