//! Selective search on the photos of a data set, its boxes kept in a file.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

use frcnn_core::{BBox, Frame};
use frcnn_proposals::{Propose, SelectiveSearch};
use rayon::prelude::*;
use safetensors::tensor::{TensorView, serialize};
use safetensors::{Dtype, SafeTensorError, SafeTensors};

use super::{DatasetProposals, Photo, decode};
use crate::console;
use crate::error::Error;
use crate::files;

/// As the paper has it.
const BOXES: usize = 2000;
/// Key in the file's metadata of what made the boxes.
const MADE_BY: &str = "made_by";
/// Photos between two looks at the clock.
const TOGETHER: usize = 16;
/// What a program that is killed may lose.
const SAVE_EVERY: Duration = Duration::from_secs(30);

/// Boxes by stem as the file has them: x1, y1, x2, y2 in u16.
type Boxes = BTreeMap<String, Vec<u8>>;

/// The boxes of the photos; only those that are not yet in `cache` are made.
pub(super) fn search(photos: &[Photo], cache: Option<&Path>) -> Result<DatasetProposals, Error> {
    let mut boxes = match cache.filter(|path| path.exists()) {
        Some(path) => read(path)?,
        None => Boxes::new(),
    };
    let missing: Vec<&Photo> = photos.iter().filter(|photo| !boxes.contains_key(&photo.stem)).collect();
    if let Some(folder) = cache.and_then(Path::parent) {
        files::make_folder(folder)?;
    }
    let bar = console::progress(missing.len() as u64, "selective search");
    let mut saved = Instant::now();
    for some in missing.chunks(TOGETHER) {
        let made: Vec<_> = some.par_iter().map(|photo| of_photo(photo)).collect::<Result<_, _>>()?;
        boxes.extend(some.iter().map(|photo| photo.stem.clone()).zip(made));
        bar.inc(some.len() as u64);
        if let Some(path) = cache.filter(|_| saved.elapsed() > SAVE_EVERY) {
            files::write(path, &to_bytes(&boxes)?)?;
            saved = Instant::now();
        }
    }
    bar.finish_and_clear();
    let bytes = to_bytes(&boxes)?;
    if let Some(path) = cache.filter(|_| !missing.is_empty()) {
        files::write(path, &bytes)?;
    }
    DatasetProposals::from_bytes(cache.unwrap_or(Path::new("selective search")), bytes)
}

fn of_photo(photo: &Photo) -> Result<Vec<u8>, Error> {
    let image = decode(&photo.path)?;
    let frame = Frame::rgb8(image.as_raw(), image.width(), image.height())
        .map_err(|error| Error::file(&photo.path, error))?;
    // The photos are what goes on side by side.
    let found = SelectiveSearch { threads: 1, ..SelectiveSearch::default() }.propose(&frame, BOXES);
    let corners = found.boxes.iter().flat_map(|&BBox { x1, y1, x2, y2 }| [x1, y1, x2, y2]);
    // Whole pixels inside a frame, whose sides are below 2^16.
    Ok(corners.flat_map(|corner| (corner as u16).to_le_bytes()).collect())
}

fn to_bytes(boxes: &Boxes) -> Result<Vec<u8>, Error> {
    let views = boxes.iter().map(|(stem, bytes)| {
        let shape = vec![bytes.len() / (4 * size_of::<u16>()), 4];
        Ok((stem, TensorView::new(Dtype::U16, shape, bytes)?))
    });
    let metadata = HashMap::from([(MADE_BY.to_string(), made_by())]);
    views
        .collect::<Result<Vec<_>, SafeTensorError>>()
        .and_then(|views| serialize(views, Some(metadata)))
        .map_err(|error| Error::Training(format!("cannot keep the boxes of selective search: {error}")))
}

fn read(path: &Path) -> Result<Boxes, Error> {
    let bytes = files::read(path)?;
    let damaged = |error: SafeTensorError| Error::file(path, format!("damaged, delete it: {error}"));
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
    if header.metadata().as_ref().and_then(|metadata| metadata.get(MADE_BY)) != Some(&made_by()) {
        return Err(Error::file(path, format!("has other boxes than those of {}; delete it", made_by())));
    }
    let file = SafeTensors::deserialize(&bytes).map_err(damaged)?;
    Ok(file.iter().map(|(stem, tensor)| (stem.to_string(), tensor.data().to_vec())).collect())
}

/// In the words of `frcnn proposals`, whose files can be continued here and ours there.
fn made_by() -> String {
    format!("selective-search fast, seed {}, at most {BOXES} boxes", SelectiveSearch::default().seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;
    use crate::data::tests::write_voc;
    use std::fs;

    #[test]
    fn boxes_are_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let objects = "<object><name>a</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax>\
                       </bndbox></object>";
        write_voc(folder.path(), &[("one", objects), ("two", objects)]);
        // A white square on black.
        let square = image::GrayImage::from_fn(90, 90, |x, y| {
            image::Luma([if (30..60).contains(&x) && (30..60).contains(&y) { 255 } else { 0 }])
        });
        for stem in ["one", "two"] {
            square.save(folder.path().join(format!("JPEGImages/{stem}.png"))).unwrap();
        }
        let photos = Dataset::open(folder.path(), "trainval", None).unwrap().photos;
        let cache = folder.path().join("boxes.safetensors");
        let first = search(&photos[..1], Some(&cache)).unwrap().of(&photos[0]).unwrap();
        assert!(first.iter().any(|b| b.iou(&BBox::new(30.0, 30.0, 59.0, 59.0), 1.0) > 0.8), "{first:?}");
        assert_eq!(search(&photos, None).unwrap().of(&photos[1]).unwrap(), first);

        // The second photo is added, the first is not looked at again.
        fs::remove_file(&photos[0].path).unwrap();
        let both = search(&photos, Some(&cache)).unwrap();
        assert_eq!((both.of(&photos[0]).unwrap(), both.of(&photos[1]).unwrap()), (first.clone(), first));

        fs::write(&cache, "no boxes").unwrap();
        let error = search(&photos, Some(&cache)).unwrap_err().to_string();
        assert!(error.contains("boxes.safetensors") && error.contains("delete it"), "{error}");
    }
}
