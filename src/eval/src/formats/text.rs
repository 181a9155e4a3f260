//! A text file per image.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{Corners, file_name, lines, some_of, stem, text_files};
use crate::{Dataset, Detection, Error, Problem, Region};

pub(super) fn read(folder: &Path, corners: Corners, dataset: &mut Dataset) -> Result<Vec<Detection>, Error> {
    let stems = dataset.stems();
    let mut classes: HashMap<String, usize> = HashMap::new();
    let mut detections = Vec::new();
    for path in text_files(folder)? {
        let unknown =
            |what, id: &str, hint| Error::new(&path, Problem::Unknown { what, id: format!("`{id}`"), hint });
        let name = stem(&path);
        let image = stems.get(name.as_str()).copied().ok_or_else(|| {
            unknown("image", &name, some_of("images", dataset.images.iter().map(|image| &image.stem)))
        })?;
        lines(&path, |name, score, numbers| {
            let class = match classes.get(name) {
                Some(&class) => class,
                None => {
                    let class = dataset
                        .meet_class(name)
                        .ok_or_else(|| unknown("class", name, some_of("classes", dataset.classes.iter())))?;
                    classes.insert(name.to_string(), class);
                    class
                }
            };
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
) -> Result<Vec<(PathBuf, String)>, Error> {
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
    let file = |(image, text): (&crate::Image, String)| {
        Ok((folder.join(format!("{}.txt", file_name(folder, "image", &image.stem)?)), text))
    };
    dataset.images.iter().zip(texts).map(file).collect()
}
