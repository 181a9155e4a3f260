//! The confusion matrix: as a table where it can be read, as a picture where there are many classes.

use std::cmp::Reverse;

use frcnn_eval::Confusion;
use image::{Rgb, RgbImage};

use super::overlay::Picture;
use crate::Error;

/// Classes of a table at most.
const IN_TABLE: usize = 24;
/// Classes of a picture at most; of more, only what is confused most is listed.
const IN_PICTURE: usize = 1000;
/// Lines of that list.
const LISTED: usize = 20;
/// What is in no class.
const BACKGROUND: &str = "background";

/// A confusion matrix as it is shown.
pub(super) struct Confusions {
    pub(super) shown: Shown,
    /// Classes with neither objects nor detections, which are left out.
    pub(super) absent: usize,
    /// True class, predicted class, how often, and as a share of the true class's objects: what is confused most, where the table
    /// does not show it.
    pub(super) most: Vec<(String, String, u64, String)>,
}

pub(super) enum Shown {
    /// Nothing to count.
    Nothing,
    /// Names of the columns, and the rows.
    Table(Vec<String>, Vec<Row>),
    /// Rows and columns are pixels.
    Heat(Picture),
    /// Too many.
    List,
}

pub(super) struct Row {
    pub(super) name: String,
    pub(super) cells: Vec<Cell>,
}

pub(super) struct Cell {
    /// Empty where there is none.
    pub(super) count: String,
    pub(super) title: String,
    /// `background:…;color:…`
    pub(super) style: String,
}

/// Prepares the matrix of classes with these names.
pub(super) fn confusions(confusion: &Confusion, names: &[String]) -> Result<Confusions, Error> {
    let classes: Vec<usize> = confusion.classes().into_iter().collect();
    let name = |class: Option<usize>| match class {
        Some(class) => names.get(class).cloned().unwrap_or_default(),
        None => BACKGROUND.to_string(),
    };
    // The background last.
    let axis: Vec<Option<usize>> = classes.iter().copied().map(Some).chain([None]).collect();
    let shown = match classes.len() {
        0 => Shown::Nothing,
        1..=IN_TABLE => {
            let row = |&truth: &Option<usize>| row(confusion, truth, &axis, &name);
            Shown::Table(axis.iter().map(|&class| name(class)).collect(), axis.iter().map(row).collect())
        }
        classes if classes <= IN_PICTURE => Shown::Heat(heat(confusion, &axis)?),
        _ => Shown::List,
    };
    let most = match shown {
        Shown::Heat(_) | Shown::List => most(confusion, &name),
        _ => Vec::new(),
    };
    Ok(Confusions { shown, absent: names.len().saturating_sub(classes.len()), most })
}

fn row(
    confusion: &Confusion,
    truth: Option<usize>,
    axis: &[Option<usize>],
    name: &dyn Fn(Option<usize>) -> String,
) -> Row {
    let all: u64 = axis.iter().map(|&predicted| confusion.count(truth, predicted)).sum();
    let cell = |&predicted: &Option<usize>| {
        let count = confusion.count(truth, predicted);
        let share = share(count, all);
        let title = match (truth, predicted) {
            (None, None) => String::new(),
            (None, _) => {
                format!(
                    "{count} detections of {} where no object is: {} of such",
                    name(predicted),
                    percent(share)
                )
            }
            (_, None) => format!("{count} of {all} {} were missed: {}", name(truth), percent(share)),
            _ => format!("{count} of {all} {} found as {}: {}", name(truth), name(predicted), percent(share)),
        };
        let colour = colour(share, truth == predicted);
        let [r, g, b] = colour.0;
        let ink = if share > 0.55 { "#fff" } else { "inherit" };
        Cell {
            count: if (truth, predicted) == (None, None) { String::new() } else { count.to_string() },
            title,
            style: format!("background:#{r:02x}{g:02x}{b:02x};color:{ink}"),
        }
    };
    Row { name: name(truth), cells: axis.iter().map(cell).collect() }
}

/// Right in blue, wrong in orange, by the share of the row.
fn colour(share: f64, is_right: bool) -> Rgb<u8> {
    let full: [f64; 3] = if is_right { [0.0, 114.0, 178.0] } else { [190.0, 70.0, 0.0] };
    // One object in a hundred is to be seen.
    let strength = share.clamp(0.0, 1.0).sqrt();
    Rgb(full.map(|full| (255.0 + (full - 255.0) * strength).round() as u8))
}

fn share(count: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { count as f64 / all as f64 }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A pixel for each pair of classes, larger where there are few.
fn heat(confusion: &Confusion, axis: &[Option<usize>]) -> Result<Picture, Error> {
    let side = axis.len() as u32;
    let scale = (900 / side.max(1)).max(1);
    let mut pixels = RgbImage::from_pixel(side * scale, side * scale, Rgb([255; 3]));
    let place = |class: Option<usize>| axis.iter().position(|&known| known == class);
    let mut rows = vec![0u64; axis.len()];
    for (truth, _, count) in confusion.iter() {
        if let Some(row) = place(truth).and_then(|row| rows.get_mut(row)) {
            *row += count;
        }
    }
    for (truth, predicted, count) in confusion.iter() {
        let (Some(row), Some(column)) = (place(truth), place(predicted)) else { continue };
        let all = rows.get(row).copied().unwrap_or(0);
        let colour = colour(share(count, all), truth == predicted);
        for (x, y) in (0..scale).flat_map(|x| (0..scale).map(move |y| (x, y))) {
            pixels.put_pixel(column as u32 * scale + x, row as u32 * scale + y, colour);
        }
    }
    // The background apart.
    let line = (side - 1) * scale;
    for along in 0..side * scale {
        pixels.put_pixel(line, along, Rgb([120; 3]));
        pixels.put_pixel(along, line, Rgb([120; 3]));
    }
    Picture::of(&pixels, (side * scale, side * scale))
}

/// Pairs of classes, without the background.
fn most(confusion: &Confusion, name: &dyn Fn(Option<usize>) -> String) -> Vec<(String, String, u64, String)> {
    let mut objects = std::collections::HashMap::new();
    confusion.iter().for_each(|(truth, _, count)| *objects.entry(truth).or_insert(0) += count);
    let mut wrong: Vec<_> = confusion
        .iter()
        .filter(|(truth, predicted, _)| truth.is_some() && predicted.is_some() && truth != predicted)
        .collect();
    wrong.sort_by_key(|(.., count)| Reverse(*count));
    wrong.truncate(LISTED);
    let line = |(truth, predicted, count)| {
        let all = objects.get(&truth).copied().unwrap_or(0);
        (name(truth), name(predicted), count, percent(share(count, all)))
    };
    wrong.into_iter().map(line).collect()
}
