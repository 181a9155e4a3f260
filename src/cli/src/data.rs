//! A data set and its proposals, as several commands are told of them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use clap::ValueEnum;
use frcnn_bundle::Contents;
use frcnn_core::Printable;
use frcnn_eval::{Dataset, Format, Location};
use frcnn_harness::Loaded;

use crate::console;
use crate::error::Error;
use crate::inputs::boxes::BoxSource;
use crate::inputs::decode;
use crate::inputs::images::ImageFile;
use crate::outputs::Input;

/// Which part of a data set, and where its boxes come from.
#[derive(Debug, clap::Args)]
pub(crate) struct DataArgs {
    /// How the data set lies on disk [default: what is found there]
    #[arg(long, value_enum)]
    format: Option<DataFormat>,
    /// The images to use: ImageSets/Main/SPLIT.txt, or annotations/instances_SPLIT.json [default: test]
    #[arg(long)]
    split: Option<String>,
    /// The folder of the images, from the data set's [default: JPEGImages, or COCO's SPLIT]
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Boxes to look at (.safetensors or .json) [default: the RPN's if the bundle has one, the data set's only
    /// proposals*.safetensors, or selective search]
    #[arg(long, value_name = "FILE")]
    proposals: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DataFormat {
    /// Annotations/*.xml, ImageSets/Main/SPLIT.txt, JPEGImages/
    Voc,
    /// annotations/instances_SPLIT.json and the images
    Coco,
}

impl DataArgs {
    /// Reads the annotations; `classes` are a detector's, the background first.
    pub(crate) fn open(&self, root: &Path, classes: Option<&[String]>) -> Result<Dataset, Error> {
        let mut dataset = Dataset::open(&self.location(root))?;
        dataset
            .warnings
            .iter()
            .for_each(|warning| console::warning(format_args!("{}: {warning}", Printable(root.display()))));
        if let Some([_background, objects @ ..]) = classes {
            let strange = dataset.meet_classes(objects);
            if !strange.is_empty() {
                console::warning(format_args!(
                    "the data set has objects of classes that the detector does not know, which count as missed: {}",
                    Printable(strange.join(", "))
                ));
            }
        }
        Ok(dataset)
    }

    fn location(&self, root: &Path) -> Location {
        Location {
            root: root.to_path_buf(),
            format: self.format.map(|format| match format {
                DataFormat::Voc => Format::Voc,
                DataFormat::Coco => Format::Coco,
            }),
            split: self.split().to_string(),
            images: self.images.clone(),
        }
    }

    /// What is read of the data set.
    pub(crate) fn input(&self, root: &Path) -> Input<'static> {
        Input::DataSet { location: self.location(root), boxes: self.proposals_file(root) }
    }

    /// The images to use.
    pub(crate) fn split(&self) -> &str {
        self.split.as_deref().unwrap_or("test")
    }

    /// The first of these options that was given.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let options = [
            ("--format", self.format.is_some()),
            ("--split", self.split.is_some()),
            ("--images", self.images.is_some()),
            ("--proposals", self.proposals.is_some()),
        ];
        options.into_iter().find(|&(_, given)| given).map(|(name, _)| name)
    }

    /// Whether the images to use were named.
    pub(crate) fn names_split(&self) -> bool {
        self.split.is_some()
    }

    /// Where the boxes of so many images come from.
    pub(crate) fn proposals(&self, root: &Path, images: usize) -> Result<BoxSource, Error> {
        let file = self.proposals_file(root);
        BoxSource::open(file.as_deref(), images)
    }

    /// The file of boxes that is named, or the data set's own.
    pub(crate) fn proposals_file(&self, root: &Path) -> Option<PathBuf> {
        self.proposals.clone().or_else(|| only_proposals(root))
    }

    /// The same for a bundle: its own RPN makes the boxes where it has one and no file is named.
    pub(crate) fn proposals_for(
        &self,
        contents: &Contents,
        root: &Path,
        images: usize,
    ) -> Result<BoxSource, Error> {
        match (&contents.rpn, &self.proposals) {
            (Some(_), None) => Ok(BoxSource::Learned),
            _ => self.proposals(root, images),
        }
    }

    /// Whether a file of boxes was named.
    pub(crate) fn names_proposals(&self) -> bool {
        self.proposals.is_some()
    }

    /// What changes the detections, for comparing runs.
    pub(crate) fn settings(&self) -> [(&'static str, String); 3] {
        let name = |path: &Option<PathBuf>| {
            path.as_deref().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned()
        };
        [
            ("split", self.split().to_string()),
            ("images", name(&self.images)),
            ("proposals", name(&self.proposals)),
        ]
    }
}

/// The file of a data set whose name begins with `proposals`, if there is one and no other.
fn only_proposals(root: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(root).ok()?.flatten().map(|entry| entry.path());
    let mut found = entries.filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("proposals") && name.ends_with(".safetensors")
    });
    found.next().filter(|_| found.next().is_none())
}

/// What loads the images of a data set, and notes what may be wrong with them.
pub(crate) struct Loader<'a> {
    proposals: &'a BoxSource,
    /// By stem: the right and the lower edge of the objects, in pixels.
    extents: HashMap<&'a str, (f64, f64)>,
    notes: Mutex<Notes>,
}

/// By stem, as an image may be loaded more than once.
#[derive(Default)]
struct Notes {
    /// Images that are not of the size that their annotations were made at, and how they differ.
    other_sizes: BTreeMap<String, String>,
    /// Images of no annotated size that some of their objects do not fit into.
    too_small: BTreeMap<String, String>,
    /// Proposals that are no boxes.
    no_boxes: BTreeMap<String, usize>,
}

/// Corners beyond an image by up to this many pixels are files that count otherwise: not worth a word.
const TOLERATED_OVERHANG: f64 = 2.0;

impl<'a> Loader<'a> {
    /// With these boxes.
    pub(crate) fn new(dataset: &'a Dataset, proposals: &'a BoxSource) -> Loader<'a> {
        let mut extents = HashMap::new();
        for truth in &dataset.truths {
            let Some(image) = dataset.images.get(truth.image) else { continue };
            let (right, bottom) = extents.entry(image.stem.as_str()).or_insert((0.0, 0.0));
            *right = f64::max(*right, truth.region.x + truth.region.width);
            *bottom = f64::max(*bottom, truth.region.y + truth.region.height);
        }
        Loader { proposals, extents, notes: Mutex::default() }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pixels and boxes of an image.
    pub(crate) fn load(&self, image: &frcnn_eval::Image) -> Result<Loaded, frcnn_harness::Error> {
        self.load_with(image, self.proposals)
    }

    /// Pixels of an image whose boxes a network makes itself.
    pub(crate) fn load_without_boxes(
        &self,
        image: &frcnn_eval::Image,
    ) -> Result<Loaded, frcnn_harness::Error> {
        self.load_with(image, &BoxSource::Learned)
    }

    fn load_with(
        &self,
        image: &frcnn_eval::Image,
        proposals: &BoxSource,
    ) -> Result<Loaded, frcnn_harness::Error> {
        let of_image = |error: Error| match error {
            Error::File { path, problem } => frcnn_harness::Error::File { path, problem },
            other => frcnn_harness::Error::file(&image.path, other),
        };
        let pixels = decode::rgb8(&image.path).map_err(of_image)?;
        let (width, height) = pixels.dimensions();
        if let Some((w, h)) = image.size.filter(|&size| size != (width, height)) {
            let turned = if (h, w) == (width, height) { " before it is turned upright" } else { "" };
            let what = format!(
                "{}: is {width} x {height}, annotated as {w} x {h}{turned}",
                Printable(image.path.display())
            );
            self.notes().other_sizes.insert(image.stem.clone(), what);
        }
        let (right, bottom) = self.extents.get(image.stem.as_str()).copied().unwrap_or_default();
        let over = (right - f64::from(width)).max(bottom - f64::from(height));
        if image.size.is_none() && over > TOLERATED_OVERHANG {
            let what = format!(
                "{}: is {width} x {height}, its objects reach to {right} x {bottom}",
                Printable(image.path.display())
            );
            self.notes().too_small.insert(image.stem.clone(), what);
        }
        let key = ImageFile { path: image.path.clone(), stem: image.stem.clone() };
        let boxes = proposals.of(&key, &pixels).map_err(of_image)?.map(Cow::into_owned);
        let no_boxes = boxes.iter().flatten().filter(|bbox| !bbox.is_valid()).count();
        if no_boxes > 0 {
            self.notes().no_boxes.insert(image.stem.clone(), no_boxes);
        }
        Ok(Loaded { pixels, boxes })
    }

    /// Warns of what was noted.
    pub(crate) fn warn(&self) {
        let Notes { other_sizes, too_small, no_boxes } = &*self.notes();
        if let Some(first) = other_sizes.values().next() {
            console::warning(format_args!(
                "{} images are not of the size that they were annotated at, so their objects may lie elsewhere \
                 (first: {first})",
                other_sizes.len()
            ));
        }
        if let Some(first) = too_small.values().next() {
            console::warning(format_args!(
                "{} images are smaller than what is annotated on them: were they resized? (first: {first})",
                too_small.len()
            ));
        }
        if let Some(first) = no_boxes.keys().next() {
            console::warning(format_args!(
                "{} proposals of {} images are passed over: x2 < x1, y2 < y1 or not finite (first: {})",
                no_boxes.values().sum::<usize>(),
                no_boxes.len(),
                Printable(first)
            ));
        }
    }
}
