//! Selective search: Uijlings, van de Sande, Gevers and Smeulders, "Selective search for object recognition", IJCV 2013.
//!
//! ```text
//!                    ┌ k = 50  ── regions ┬ colour + texture + size + fill ── boxes ┐
//!       ┌ HSV ─ edges┤                    └          texture + size + fill ── boxes │
//! frame ┤   └── bins └ k = 100 ── regions … two more                                ├ ranked, distinct
//!       └ Lab … four more                                                           │
//!                                       initial regions' boxes of each segmentation ┘
//! ```
//!
//! What strategies have in common is done once: edges are weighed and sorted and pixels put into histogram bins for each
//! colour space, regions found for each k of those. Other things that make it fast:
//!
//! 1. Edge weights are whole 64ths of a grey level, so that counting sorts them.
//! 2. Before any root of the union-find is looked for, edges that cannot join two components are taken out without a
//!    branch.
//! 3. A region's histogram is the mean of its parts', so pixels are counted once.
//! 4. Only neighbours are compared, and again only when one of them has grown; a heap says who is next.
//! 5. Loops over pixels and histograms are compiled for the CPU's widest vectors too.

pub(crate) mod bins;
pub(crate) mod colour;
pub(crate) mod edges;
mod filter;
pub(crate) mod group;
mod rank;
pub(crate) mod regions;
pub(crate) mod segment;
mod strategies;
mod working;

use std::time::Instant;

use frcnn_core::Frame;

use crate::tasks;
use crate::{ProposalMethod, Proposals, Propose};
use bins::Bins;
use colour::Planes;
use edges::Edges;
use group::group;
use rank::Ranking;
use regions::RegionFeatures;
use segment::segment;
use working::Working;

pub use strategies::Mode;

/// Boxes of regions that differ from what is around them, from small to large.
///
/// Images wider than 500 pixels are worked on at that width, higher ones than 1500 at that height; boxes under 20 pixels
/// there on either side are left out, but for [`Mode::Published`]. Time and memory are bounded by that size, whatever the image shows. The same frame
/// and seed give the same boxes for any number of threads.
#[derive(Clone, Copy, Debug)]
pub struct SelectiveSearch {
    /// Which strategies.
    pub mode: Mode,
    /// Decides the random part of the boxes' order.
    pub seed: u64,
    /// With 1 the caller's thread does everything, with more all those of the current rayon pool.
    pub threads: usize,
}

impl Default for SelectiveSearch {
    /// Fast, seed 0, all threads of the pool.
    fn default() -> SelectiveSearch {
        SelectiveSearch { mode: Mode::Fast, seed: 0, threads: usize::MAX }
    }
}

impl Propose for SelectiveSearch {
    fn propose(&mut self, frame: &Frame, max: usize) -> Proposals {
        let start = Instant::now();
        let working = Working::new(frame);
        let (width, height) = (working.width, working.height);
        let (spaces, scales) = (self.mode.spaces(), self.mode.scales());
        let similarities = self.mode.similarities();

        let parallel = self.threads > 1;
        // One thing leads to the next without waiting for the others: threads are idle only at the end.
        let searched = tasks::map(parallel, spaces, |&space| {
            let planes = Planes::new(space, &working.rgb);
            let (edges, bins) =
                tasks::both(parallel, || Edges::new(&planes, width, height), || Bins::new(&planes, width));
            tasks::map(parallel, scales, |&k| {
                let regions = RegionFeatures::new(&segment(&edges, k), &bins, width);
                let groups = tasks::map(parallel, similarities, |&similarity| group(&regions, similarity));
                (regions.boxes, groups)
            })
        });

        let mut ranking = Ranking::new(self.seed, self.mode.min_side(), [width, height]);
        for (initial, groups) in searched.iter().flatten() {
            ranking.add_initial(initial);
            groups.iter().for_each(|boxes| ranking.add_grouped(boxes));
        }
        let boxes = ranking.finish(max).into_iter().map(|b| working.to_frame(b)).collect();
        Proposals { boxes, method: ProposalMethod::SelectiveSearch, elapsed: start.elapsed(), notice: None }
    }
}
