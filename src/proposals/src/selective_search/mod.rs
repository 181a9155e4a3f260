//! Selective search.

pub(crate) mod bins;
pub(crate) mod colour;
pub(crate) mod edges;
pub(crate) mod filter;
pub(crate) mod group;
pub(crate) mod regions;
pub(crate) mod segment;
mod rank;
mod working;

use std::time::Instant;

use frcnn_core::Frame;

use crate::tasks;
use crate::{Method, Proposals, Propose};
use bins::Bins;
use colour::{ColourSpace, Planes};
use edges::Edges;
use group::{Similarity, group};
use regions::Regions;
use segment::segment;
use working::Working;

/// Smoothing before segmentation, in pixels.
const SIGMA: f32 = 0.8;

/// How many ways of grouping are gone through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// 8.
    #[default]
    Fast,
    /// 80.
    Quality,
}

/// Selective search.
#[derive(Clone, Debug)]
pub struct SelectiveSearch {
    /// Which strategies.
    pub mode: Mode,
    /// Chooses among the published system's random orders of boxes.
    pub seed: u64,
    /// Tasks at most.
    pub threads: usize,
}

impl Mode {
    fn spaces(self) -> &'static [ColourSpace] {
        use ColourSpace::{Hsv, Hue, Intensity, Lab, Rgi};
        match self {
            Mode::Fast => &[Hsv, Lab],
            Mode::Quality => &[Hsv, Lab, Rgi, Hue, Intensity],
        }
    }

    fn scales(self) -> &'static [f32] {
        match self {
            Mode::Fast => &[50.0, 100.0],
            Mode::Quality => &[50.0, 100.0, 150.0, 300.0],
        }
    }

    fn similarities(self) -> &'static [Similarity] {
        const NONE: Similarity = Similarity { colour: false, texture: false, size: false, fill: false };
        const ALL: Similarity = Similarity { colour: true, texture: true, size: true, fill: true };
        const SIMILARITIES: [Similarity; 4] =
            [ALL, Similarity { colour: false, ..ALL }, Similarity { fill: true, ..NONE }, Similarity { size: true, ..NONE }];
        match self {
            Mode::Fast => &SIMILARITIES[..2],
            Mode::Quality => &SIMILARITIES,
        }
    }
}

impl Propose for SelectiveSearch {
    fn propose(&mut self, frame: &Frame, max: usize) -> Proposals {
        let start = Instant::now();
        let t = |what: &str| {
            if std::env::var_os("SS_TIME").is_some() {
                eprintln!("{what}: {:?}", start.elapsed());
            }
        };
        let arch = pulp::Arch::new();
        let working = Working::new(frame);
        let (width, height) = (working.width, working.height);
        t("resized");
        let (spaces, scales, similarities) = (self.mode.spaces(), self.mode.scales(), self.mode.similarities());
        let prepared = tasks::map(self.threads, spaces.len(), |i| {
            let planes = Planes::new(spaces[i], &working.rgb);
            t(" planes");
            let edges = arch.dispatch(#[inline(always)] || Edges::new(&planes, width, height, SIGMA));
            t(" edges");
            let bins = arch.dispatch(#[inline(always)] || Bins::new(&planes, width));
            t(" bins");
            (edges, bins)
        });
        t("prepared");
        let segmented = tasks::map(self.threads, spaces.len() * scales.len(), |i| {
            let (edges, bins) = &prepared[i / scales.len()];
            let segmentation = segment(edges, scales[i % scales.len()]);
            t(" segmented");
            let r = Regions::new(&segmentation, bins, width);
            t(&format!(" regions {}", segmentation.count));
            r
        });
        t("segmented");
        let grouped = tasks::map(self.threads, segmented.len() * similarities.len(), |i| {
            arch.dispatch(#[inline(always)] || group(&segmented[i / similarities.len()], similarities[i % similarities.len()]))
        });
        t("grouped");
        let mut ranked = rank::Ranking::new(self.seed, width, height);
        for (regions, grouped) in segmented.iter().zip(grouped.chunks(similarities.len())) {
            ranked.add_initial(&regions.boxes);
            grouped.iter().for_each(|boxes| ranked.add_grouped(boxes));
        }
        let boxes = ranked.finish(max).into_iter().map(|b| working.to_frame(b)).collect();
        t("ranked");
        Proposals { boxes, method: Method::SelectiveSearch, elapsed: start.elapsed(), notice: None }
    }
}
