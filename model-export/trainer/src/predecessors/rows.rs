//! Rows of features on disk: what the predecessors compute once and read many times.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// What R-CNN scales the mean length of feature vectors to.
const MEAN_NORM: f64 = 20.0;

/// Writes rows one after the other; the file appears when it is whole.
#[derive(Debug)]
pub(super) struct RowWriter {
    path: PathBuf,
    partial: PathBuf,
    file: BufWriter<File>,
}

impl RowWriter {
    pub(super) fn create(path: &Path) -> Result<RowWriter, Error> {
        let partial = path.with_extension("partial");
        let file = File::create(&partial).map_err(|error| Error::file(&partial, error))?;
        Ok(RowWriter { path: path.to_path_buf(), partial, file: BufWriter::new(file) })
    }

    pub(super) fn write(&mut self, rows: &[f32]) -> Result<(), Error> {
        let bytes: Vec<u8> = rows.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.file.write_all(&bytes).map_err(|error| Error::file(&self.partial, error))
    }

    pub(super) fn finish(mut self) -> Result<(), Error> {
        self.file.flush().map_err(|error| Error::file(&self.partial, error))?;
        fs::rename(&self.partial, &self.path).map_err(|error| Error::file(&self.path, error))
    }
}

/// What was given up is not left behind.
impl Drop for RowWriter {
    fn drop(&mut self) {
        // Absent where it was renamed.
        let _ = fs::remove_file(&self.partial);
    }
}

/// `rows` rows of `width` little-endian f32.
#[derive(Debug)]
pub(super) struct RowFile {
    path: PathBuf,
    file: File,
    pub(super) width: usize,
}

impl RowFile {
    /// Opens a file that must hold so many rows.
    pub(super) fn open(path: &Path, rows: usize) -> Result<RowFile, Error> {
        let wrong = |error: std::io::Error| Error::file(path, error);
        let file = File::open(path).map_err(wrong)?;
        let values = file.metadata().map_err(wrong)?.len() as usize / size_of::<f32>();
        if rows == 0 || !values.is_multiple_of(rows) {
            let problem = format!(
                "holds {values} values, which are no {rows} rows: it belongs to other data; remove it to compute it anew"
            );
            return Err(Error::file(path, problem));
        }
        Ok(RowFile { path: path.to_path_buf(), file, width: values / rows })
    }

    /// The values of some rows.
    pub(super) fn read(&self, rows: Range<usize>) -> Result<Vec<f32>, Error> {
        let mut bytes = vec![0u8; rows.len() * self.width * size_of::<f32>()];
        let start = (rows.start * self.width * size_of::<f32>()) as u64;
        self.file.read_exact_at(&mut bytes, start).map_err(|error| Error::file(&self.path, error))?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|&value| f32::from_le_bytes(value)).collect())
    }

    /// The factor that brings the mean length of these many rows to 20, so that C and lambda mean the same for all
    /// networks.
    pub(super) fn scale_to_mean_norm(&self, rows: usize) -> Result<f32, Error> {
        let mut sum = 0.0;
        for row in 0..rows {
            let row = self.read(row..row + 1)?;
            sum += f64::from(row.iter().map(|value| value * value).sum::<f32>()).sqrt();
        }
        Ok(if sum > 0.0 { (MEAN_NORM * rows as f64 / sum) as f32 } else { 1.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_back_and_strangers_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.f32");
        let mut writer = RowWriter::create(&path).unwrap();
        writer.write(&[1.0, 2.0]).unwrap();
        assert!(!path.exists());
        writer.write(&[3.0, 4.0, 5.0, 6.0]).unwrap();
        writer.finish().unwrap();
        let file = RowFile::open(&path, 3).unwrap();
        assert_eq!((file.width, file.read(1..3).unwrap()), (2, vec![3.0, 4.0, 5.0, 6.0]));
        let said = RowFile::open(&path, 4).unwrap_err().to_string();
        assert!(said.contains("remove it"), "{said}");
    }
}
