//! VOC comp4: a file per class, named `comp4_det_SPLIT_CLASS.txt`.

use std::path::{Path, PathBuf};

use super::{lines, some_of, stem, text_files};
use crate::{Dataset, Detection, Error, Problem, Region};

pub(super) fn read(folder: &Path, dataset: &mut Dataset) -> Result<Vec<Detection>, Error> {
    let stems = dataset.stems();
    let mut detections = Vec::new();
    for path in text_files(folder)? {
        let class = class_of(&path, dataset)?;
        lines(&path, |name, score, corners| {
            let image = stems.get(name).copied().ok_or_else(|| {
                let hint = some_of("images", dataset.images.iter().map(|image| image.stem.as_str()));
                Error::new(&path, Problem::Unknown { what: "image", id: format!("`{name}`"), hint })
            })?;
            // VOC counts pixels from 1.
            let region = Region::from_inclusive(corners.map(|v| v - 1.0));
            detections.push(Detection { image, class, score, region });
            Ok(())
        })?;
    }
    Ok(detections)
}

/// The class with the longest name that the file's ends in, as names may have underscores themselves; or what stands
/// behind the last underscore.
fn class_of(path: &Path, dataset: &mut Dataset) -> Result<usize, Error> {
    let name = stem(path);
    let ends = |class: &&String| {
        name.strip_suffix(class.as_str()).is_some_and(|before| before.is_empty() || before.ends_with('_'))
    };
    let known = dataset.classes.iter().filter(ends).max_by_key(|class| class.len());
    let class = known.map_or(name.rsplit('_').next().unwrap_or(&name), String::as_str).to_string();
    dataset.meet_class(&class).ok_or_else(|| {
        let hint = some_of("classes", dataset.classes.iter().map(String::as_str));
        Error::new(path, Problem::Unknown { what: "class", id: format!("`{class}`"), hint })
    })
}

pub(super) fn files(folder: &Path, dataset: &Dataset, detections: &[Detection]) -> Vec<(PathBuf, String)> {
    let mut texts = vec![String::new(); dataset.classes.len()];
    for found in detections {
        let image = dataset.images.get(found.image);
        if let (Some(text), Some(image)) = (texts.get_mut(found.class), image) {
            let [x1, y1, x2, y2] = found.region.inclusive().map(|v| v + 1.0);
            *text += &format!("{} {} {x1} {y1} {x2} {y2}\n", image.stem, found.score);
        }
    }
    let file = |class: &String| folder.join(format!("comp4_det_{class}.txt"));
    dataset.classes.iter().map(file).zip(texts).collect()
}
