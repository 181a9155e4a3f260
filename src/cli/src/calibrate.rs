//! `frcnn compile --precision int8 --calibrate DIR`: the photos, and what is told of the result.

use std::borrow::Cow;
use std::path::Path;

use frcnn_compiler::{Compiled, Int8Report, Precision, Precisions, StoredLayer};
use frcnn_core::Printable;
use frcnn_eval::Dataset;
use frcnn_harness::Loaded;
use frcnn_harness::quantize::{FoundAgain, Photos, QuantizeStep, Quantized, quantize};
use indicatif::ProgressBar;

use crate::console;
use crate::data::{DataArgs, Loader};
use crate::error::Error;
use crate::inputs::boxes::BoxSource;
use crate::inputs::decode;
use crate::inputs::images::{self, ImageFile};
use crate::tables::Column::{Numbers, Words};
use crate::tables::table;
use crate::units;

/// Makes `exact` int8 by the photos of `root`: those directly in it, or of a data set those that `part` names.
pub(crate) fn run(
    exact: &Compiled,
    precisions: &Precisions,
    root: &Path,
    part: &DataArgs,
    bar: &ProgressBar,
) -> Result<Quantized, Error> {
    let is_dataset = ["Annotations", "annotations"].iter().any(|name| root.join(name).exists());
    // A folder of photos is all of them: the split is of --data then.
    if part.names_split() && is_dataset {
        // What the objects are is not asked.
        let dataset = part.open(root, None)?;
        let boxes = part.proposals_for(exact.bundle.contents(), root, dataset.images.len())?;
        return of_dataset(exact, precisions, &dataset, &boxes, bar);
    }
    let found = images::list(&[root.to_path_buf()]);
    if let Some(error) = found.unreadable.into_iter().next() {
        return Err(if is_dataset {
            Error::Usage(
                "--calibrate: this is a data set; say which images are for it with --split, such as --split train, and not \
                 those that the result is scored on"
                    .to_string(),
            )
        } else {
            error
        });
    }
    let boxes = part.proposals_for(exact.bundle.contents(), root, found.images.len())?;
    let load = |image: &ImageFile| -> Result<Loaded, Error> {
        let pixels = decode::rgb8(&image.path)?;
        let boxes = boxes.of(image, &pixels)?.map(Cow::into_owned);
        Ok(Loaded { pixels, boxes })
    };
    let load = |photo: usize| {
        let image = &found.images[photo];
        load(image).map_err(|error| frcnn_harness::Error::Stage(error.to_string()))
    };
    with_photos(exact, precisions, &Photos { count: found.images.len(), load: &load }, bar)
}

fn of_dataset(
    exact: &Compiled,
    precisions: &Precisions,
    dataset: &Dataset,
    boxes: &BoxSource,
    bar: &ProgressBar,
) -> Result<Quantized, Error> {
    let mut images: Vec<&frcnn_eval::Image> = dataset.images.iter().collect();
    images.sort_by(|a, b| a.stem.cmp(&b.stem));
    let loader = Loader::new(dataset, boxes);
    let load = |photo: usize| loader.load(images[photo]);
    let quantized = with_photos(exact, precisions, &Photos { count: images.len(), load: &load }, bar);
    loader.warn();
    quantized
}

fn with_photos(
    exact: &Compiled,
    precisions: &Precisions,
    photos: &Photos,
    bar: &ProgressBar,
) -> Result<Quantized, Error> {
    let (mut calibrated, mut compared) = (0, 0);
    let quantized = quantize(exact, precisions, photos, &mut |step| match step {
        QuantizeStep::Calibrating(of) => {
            calibrated += 1;
            bar.set_message(format!("calibrating on photo {calibrated} of {of}"));
        }
        QuantizeStep::Comparing(of) => {
            compared += 1;
            bar.set_message(format!("comparing with f32 on photo {compared} of {of}"));
        }
        QuantizeStep::PassedOver(error) => {
            bar.suspend(|| console::warning(format_args!("passed over: {}", Printable(error))));
        }
    });
    Ok(quantized?)
}

/// What became of each layer.
pub(crate) fn text(report: &Int8Report, found_again: &FoundAgain) -> String {
    let columns = [
        Words("layer"),
        Words("weights"),
        Numbers("weight error"),
        Numbers("reads from"),
        Numbers("to"),
        Numbers("clipped"),
        Numbers("step"),
        Numbers("zero"),
    ];
    let row = |layer: &StoredLayer| {
        let mut row = vec![
            layer.layer.clone(),
            layer.precision.name().to_string(),
            units::difference(layer.weight_error),
        ];
        row.extend(match &layer.input {
            Some(input) if layer.precision == Precision::Int8 => [
                format!("{:.4}", input.range[0]),
                format!("{:.4}", input.range[1]),
                units::percent(input.clipped),
                format!("{:.3e}", input.scale),
                input.zero_point.to_string(),
            ],
            _ => [const { String::new() }; 5],
        });
        row
    };
    let mut text = format!(
        "\nint8, calibrated on {} of {}. Weight error: relative, in the Frobenius norm. Steps: of the u8 values that \
         stand for what a layer reads\n\n",
        units::several(report.regions, "region"),
        units::several(report.photos, "photo")
    );
    text += &table(&columns, report.layers.iter().map(row));
    for layer in report.layers.iter().filter(|layer| layer.precision != Precision::Int8) {
        if let Some(input) = &layer.input {
            text += &format!(
                "{} stays {}: in int8 it would read next to nothing of {} of the regions\n",
                Printable(&layer.layer),
                layer.precision.name(),
                units::percent(input.vanishing)
            );
        }
    }
    let FoundAgain { photos, calibrated_on, exact, again, more } = found_again;
    let on = match (*calibrated_on, *photos) {
        (true, photos) => format!("{photos} of the photos of the calibration, for there are no others"),
        (false, 1) => "one other photo".to_string(),
        (false, photos) => format!("{photos} other photos"),
    };
    text += &format!(
        "\nOf {} that the f32 network finds (score above 0.5) on {on}, int8 finds {again} again, and {more} more\n",
        units::several(*exact, "object")
    );
    if *exact == 0 {
        text += "The f32 network finds nothing there: are these photos of what it was trained on?\n";
    }
    text
}
