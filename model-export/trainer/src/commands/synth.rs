//! `frcnn-train synth`: a data set that a program draws.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use frcnn_core::BBox;
use image::codecs::jpeg::JpegEncoder;
use rayon::prelude::*;

use crate::console;
use crate::error::Error;
use crate::files;
use crate::synth::{HEIGHT, Scene, WIDTH};

const JPEG_QUALITY: u8 = 92;

/// Draw a data set: six kinds of objects on textured ground, in PASCAL VOC's layout
///
/// Boxes, crosses, discs, rings, stars and triangles of any colour, texture, size and rotation, hiding parts of each
/// other, in uneven light, blurred and noisy. Four fifths of the images are the split `trainval`, the rest `test`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  frcnn-train synth data/synth --images 400 --seed 1
  frcnn-train fit --data data/synth --arch tiny --proposals grid --scales 240 --lr 0.01 --out runs/tiny")]
pub(crate) struct Args {
    /// The folder to make; it must not hold a data set already
    out: PathBuf,
    /// Images in all
    #[arg(long, default_value_t = 400, value_name = "N", value_parser = clap::value_parser!(u32).range(5..=100_000))]
    images: u32,
    /// Which random numbers
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let lists = args.out.join("ImageSets/Main");
    if lists.exists() {
        return Err(Error::file(&args.out, "holds a data set already; name another folder"));
    }
    for folder in ["Annotations", "JPEGImages"] {
        files::make_folder(&args.out.join(folder))?;
    }
    let bar = console::progress(u64::from(args.images), "drawing");
    (0..args.images).into_par_iter().try_for_each(|number| {
        let scene = Scene::new(args.seed, u64::from(number));
        write_scene(&args.out, number, &scene)?;
        bar.inc(1);
        Ok::<_, Error>(())
    })?;
    bar.finish_and_clear();
    // Last, so that a folder with lists is whole.
    files::make_folder(&lists)?;
    let first_test = args.images - args.images / 5;
    for (split, numbers) in [("trainval", 0..first_test), ("test", first_test..args.images)] {
        let stems: String = numbers.map(|number| stem(number) + "\n").collect();
        files::write(&lists.join(format!("{split}.txt")), stems.as_bytes())?;
    }
    console::result(&format!("{}: {} images\n", args.out.display(), args.images))
}

fn stem(number: u32) -> String {
    format!("{number:06}")
}

fn write_scene(folder: &Path, number: u32, scene: &Scene) -> Result<(), Error> {
    let stem = stem(number);
    let path = folder.join(format!("JPEGImages/{stem}.jpg"));
    let mut jpeg = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY);
    encoder.encode_image(&scene.image).map_err(|error| Error::file(&path, error))?;
    files::write(&path, &jpeg)?;
    let path = folder.join(format!("Annotations/{stem}.xml"));
    files::write(&path, annotation(&stem, scene).as_bytes())
}

/// Corners count from 1.
fn annotation(stem: &str, scene: &Scene) -> String {
    let mut xml = format!(
        "<annotation>\n  <filename>{stem}.jpg</filename>\n  <size><width>{WIDTH}</width><height>{HEIGHT}</height>\
         <depth>3</depth></size>\n"
    );
    for object in &scene.objects {
        let BBox { x1, y1, x2, y2 } = object.bbox;
        // Writing to a string cannot fail.
        let _ = writeln!(
            xml,
            "  <object><name>{}</name><difficult>0</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax>\
             <ymax>{}</ymax></bndbox></object>",
            object.kind.name(),
            x1 + 1.0,
            y1 + 1.0,
            x2 + 1.0,
            y2 + 1.0
        );
    }
    xml + "</annotation>\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;

    #[test]
    fn what_is_drawn_is_a_data_set() {
        let folder = tempfile::tempdir().unwrap();
        let args = Args { out: folder.path().to_path_buf(), images: 5, seed: 7 };
        run(&args).unwrap();
        let data = Dataset::open(folder.path(), "trainval", None).unwrap();
        assert!(data.problems.is_empty(), "{}", data.problems);
        assert_eq!(data.photos.len(), 4);
        let scene = Scene::new(7, 0);
        let boxes: Vec<BBox> = data.photos[0].objects.iter().map(|object| object.bbox).collect();
        assert_eq!(boxes, scene.objects.iter().map(|object| object.bbox).collect::<Vec<_>>());
        assert_eq!(Dataset::open(folder.path(), "test", None).unwrap().photos.len(), 1);
        assert!(run(&args).unwrap_err().to_string().contains("already"));
    }
}
