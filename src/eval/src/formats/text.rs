//! A text file per image.

use std::path::{Path, PathBuf};

use super::{Corners, lines, some_of, stem, text_files};
use crate::{Dataset, Detection, Error, Problem, Region};

pub(super) fn read(folder: &Path, corners: Corners, dataset: &mut Dataset) -> Result<Vec<Detection>, Error> {
    let stems = dataset.stems();
    let mut detections = Vec::new();
    for path in text_files(folder)? {
        let unknown =
            |what, id: &str, hint| Error::new(&path, Problem::Unknown { what, id: format!("`{id}`"), hint });
        let name = stem(&path);
        let image = stems.get(name.as_str()).copied().ok_or_else(|| {
            unknown("image", &name, some_of("images", dataset.images.iter().map(|image| image.stem.as_str())))
        })?;
        lines(&path, |class, score, numbers| {
            let class = dataset.meet_class(class).ok_or_else(|| {
                unknown("class", class, some_of("classes", dataset.classes.iter().map(String::as_str)))
            })?;
            let region = match (corners, numbers) {
                (Corners::Inclusive, corners) => Region::from_inclusive(corners),
                (Corners::Size, [x, y, width, height]) => Region { x, y, width, height },
            };
            detections.push(Detection { image, class, score, region });
            Ok(())
        })?;
    }
    Ok(detections)
}

pub(super) fn files(
    folder: &Path,
    corners: Corners,
    dataset: &Dataset,
    detections: &[Detection],
) -> Vec<(PathBuf, String)> {
    let mut texts = vec![String::new(); dataset.images.len()];
    for found in detections {
        let class = dataset.classes.get(found.class);
        if let (Some(text), Some(class)) = (texts.get_mut(found.image), class) {
            let Region { x, y, width, height } = found.region;
            let [a, b, c, d] = match corners {
                Corners::Inclusive => found.region.inclusive(),
                Corners::Size => [x, y, width, height],
            };
            *text += &format!("{class} {} {a} {b} {c} {d}\n", found.score);
        }
    }
    let file = |stem: &str| folder.join(format!("{stem}.txt"));
    dataset.images.iter().map(|image| file(&image.stem)).zip(texts).collect()
}
