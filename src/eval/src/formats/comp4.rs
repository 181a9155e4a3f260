//! VOC comp4: a file per class, named `comp4_det_SPLIT_CLASS.txt`.

use std::path::{Path, PathBuf};

use encoding_rs::{BIG5, EUC_JP, EUC_KR, Encoding, GB18030, SHIFT_JIS, WINDOWS_1251, WINDOWS_1252};

use super::{file_name, lines, some_of, text_files};
use crate::{Dataset, Detection, Error, Problem, Region};

pub(super) fn read(folder: &Path, dataset: &mut Dataset) -> Result<Vec<Detection>, Error> {
    let stems = dataset.stems();
    let mut detections = Vec::new();
    for path in text_files(folder)? {
        let class = class_of(&path, dataset)?;
        lines(&path, |name, score, corners| {
            let image = stems.get(name).copied().ok_or_else(|| {
                let hint = some_of("images", dataset.images.iter().map(|image| &image.stem));
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
    let names = file_names(path);
    let known = names.iter().find_map(|name| known_class(name, dataset));
    let name = names.first().map_or("", String::as_str);
    let class = known.unwrap_or_else(|| name.rsplit('_').next().unwrap_or(name).to_string());
    let unreadable = class.contains(char::REPLACEMENT_CHARACTER);
    let class_id = if unreadable { dataset.class(&class) } else { dataset.meet_class(&class) };
    class_id.ok_or_else(|| {
        let hint = some_of("classes", dataset.classes.iter());
        Error::new(path, Problem::Unknown { what: "class", id: format!("`{class}`"), hint })
    })
}

fn known_class(name: &str, dataset: &Dataset) -> Option<String> {
    let ends = |class: &&String| {
        name.strip_suffix(class.as_str()).is_some_and(|before| before.is_empty() || before.ends_with('_'))
    };
    dataset.classes.iter().filter(ends).max_by_key(|class| class.len()).cloned()
}

/// What a file's name without its extension may say: the names of files have no encoding, and those that are not UTF-8
/// come from a system that had another.
fn file_names(path: &Path) -> Vec<String> {
    let stem = path.file_stem().unwrap_or_default();
    let mut names = vec![stem.to_string_lossy().into_owned()];
    if stem.to_str().is_none() {
        const ENCODINGS: [&Encoding; 7] =
            [GB18030, BIG5, SHIFT_JIS, EUC_JP, EUC_KR, WINDOWS_1252, WINDOWS_1251];
        let bytes = stem.as_encoded_bytes();
        let decode = |encoding: &&'static Encoding| {
            encoding.decode_without_bom_handling_and_without_replacement(bytes)
        };
        names.extend(ENCODINGS.iter().filter_map(decode).map(|name| name.into_owned()));
    }
    names
}

pub(super) fn files(
    folder: &Path,
    dataset: &Dataset,
    detections: &[Detection],
) -> Result<Vec<(PathBuf, String)>, Error> {
    let mut texts = vec![String::new(); dataset.classes.len()];
    for found in detections {
        let image = dataset.images.get(found.image);
        if let (Some(text), Some(image)) = (texts.get_mut(found.class), image) {
            let [x1, y1, x2, y2] = found.region.inclusive().map(|v| v + 1.0);
            *text += &format!("{} {} {x1} {y1} {x2} {y2}\n", image.stem, found.score);
        }
    }
    let file = |(class, text): (&String, String)| {
        Ok((folder.join(format!("comp4_det_{}.txt", file_name(folder, "class", class)?)), text))
    };
    dataset.classes.iter().zip(texts).map(file).collect()
}
