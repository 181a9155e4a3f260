//! What is chosen by the photos of a data set, as by `frcnn compile` with `auto`: ranks, precisions, a cascade.

use std::cell::RefCell;
use std::path::Path;

use frcnn::cpu::TypeModel;
use frcnn_compiler::{Compiled, Description, Precision};
use frcnn_eval::{Dataset, Image};
use frcnn_harness::cascade::{CascadeReport, Photos};
use frcnn_harness::{Board, Error, KeptBoxes, Loaded, auto, cascade, sweep};

use crate::dataset::{load, open};
use crate::error::{Failure, Kind};

/// The photos to choose by.
pub(crate) struct Photographs<'a> {
    data: &'a Path,
    split: &'a str,
    boxes: KeptBoxes,
    doubts: RefCell<Vec<String>>,
}

impl<'a> Photographs<'a> {
    pub(crate) fn new(data: &'a Path, split: &'a str) -> Photographs<'a> {
        Photographs { data, split, boxes: KeptBoxes::default(), doubts: RefCell::default() }
    }

    /// With `classes`, the background first.
    fn open(&self, classes: &[String]) -> Result<Dataset, Failure> {
        let (dataset, doubts) = open(self.data, self.split, classes)?;
        self.doubts.replace(doubts);
        Ok(dataset)
    }

    /// What may be wrong with the data set.
    pub(crate) fn doubts(self) -> Vec<String> {
        self.doubts.into_inner()
    }
}

/// How to choose.
#[derive(Clone, Copy)]
pub(crate) struct Choices<'a> {
    pub(crate) photographs: &'a Photographs<'a>,
    /// Points of mAP that may be lost.
    pub(crate) max_drop: f64,
}

impl Choices<'_> {
    /// The smallest ranks of hidden fully connected layers.
    pub(crate) fn svd(
        &self,
        onnx: &Path,
        description: &Description,
        precision: Precision,
    ) -> Result<Compiled, Failure> {
        let unnamed =
            || Failure::new(Kind::Option, "svd auto: name the classes, as classes or in a manifest");
        let dataset = self.photographs.open(description.classes().ok_or_else(unnamed)?)?;
        let boxes = &self.photographs.boxes;
        let load = |image: &Image, has_rpn: bool| load(&image.path, has_rpn, Some(boxes));
        let subject =
            sweep::Subject { onnx, description, precision, dataset: &dataset, threads: None, load: &load };
        Ok(sweep::choose(&subject, self.max_drop, &mut |_| Ok(()))?.1)
    }

    /// The fastest precision of each layer on a board, or on this machine.
    pub(crate) fn precisions(
        &self,
        exact: &Compiled,
        board: Option<&Board>,
    ) -> Result<(Compiled, auto::AutoReport), Failure> {
        let this = || Board::find("this").map_err(|problem| Failure::new(Kind::Option, problem));
        let board = board.cloned().map_or_else(this, Ok)?;
        self.with_photos(exact, |dataset, load| {
            let workers = std::thread::available_parallelism().map_or(1, usize::from);
            let (board, max_drop) = (&board, self.max_drop);
            let subject = auto::Subject { exact, board, dataset, load, max_drop, workers };
            auto::choose(&subject, &mut |_| Ok(()))
        })
    }

    /// A cascade, if one saves anything on a CPU.
    pub(crate) fn cascade(
        &self,
        compiled: &Compiled,
        model: &TypeModel,
    ) -> Result<(Compiled, Option<CascadeReport>), Failure> {
        self.with_photos(compiled, |dataset, load| {
            let photos = Photos { dataset, load, threads: None };
            cascade::choose(compiled, photos, self.max_drop, model, &mut |_| Ok(()))
        })
        .map(|(compiled, report)| (compiled, Some(report)))
    }

    /// A cascade that was given by hand, measured.
    pub(crate) fn measured(&self, by_hand: &Compiled) -> Result<(Compiled, Option<CascadeReport>), Failure> {
        self.with_photos(by_hand, |dataset, load| {
            cascade::measure(by_hand, Photos { dataset, load, threads: None }, &mut |_| Ok(()))
        })
        .map(|(compiled, report)| (compiled, Some(report)))
    }

    fn with_photos<T>(
        &self,
        compiled: &Compiled,
        work: impl FnOnce(&Dataset, &(dyn Fn(&Image) -> Result<Loaded, Error> + Sync)) -> Result<T, Error>,
    ) -> Result<T, Failure> {
        let contents = compiled.bundle.contents();
        let dataset = self.photographs.open(&contents.manifest.classes)?;
        let (has_rpn, boxes) = (contents.rpn.is_some(), &self.photographs.boxes);
        Ok(work(&dataset, &|image: &Image| load(&image.path, has_rpn, Some(boxes)))?)
    }
}
