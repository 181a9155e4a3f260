//! What a stream's memory buys, before there is a frame.

use frcnn_bundle::Regions;

use super::maps::FrameMaps;
use crate::area::Area;
use crate::{Detector, Error};

/// What a [`Stream`](super::Stream) keeps of its feature maps, and what that saves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExpectedReuse {
    /// Bytes of feature maps that are kept from frame to frame.
    pub map_bytes: u64,
    /// Share of the trunk's multiplications that a frame costs, from 0 to 1: what its changed pixels reach, and what has to be
    /// computed again because it was not kept.
    pub trunk_share: f64,
}

impl Detector {
    /// What a stream with `reuse_mib` MiB of maps costs in a frame of 4:3 in whose middle a rectangle of its shape has
    /// changed: `changed` of its pixels, from 0 to 1. None for an R-CNN, whose trunk runs on regions.
    ///
    /// # Errors
    /// The network takes no blob of that size.
    pub fn expected_reuse(&self, reuse_mib: u32, changed: f64) -> Result<Option<ExpectedReuse>, Error> {
        let model = &self.model;
        let contents = model.contents();
        if matches!(contents.regions, Regions::Warp(_)) {
            return Ok(None);
        }
        let maps = FrameMaps::new(model, &frcnn_bundle::nominal_blobs(contents), reuse_mib)?;
        let side = changed.clamp(0.0, 1.0).sqrt();
        let mut expected = ExpectedReuse { map_bytes: maps.bytes() as u64, trunk_share: 0.0 };
        for map in &maps.trunk {
            let area = in_the_middle(map.size(), side);
            let share = map.share(&[area]).map_err(Error::graph("trunk"))?;
            expected.trunk_share += share.min(1.0) / maps.trunk.len() as f64;
        }
        Ok(Some(expected))
    }
}

/// The middle of a blob, `side` of its rows and columns.
fn in_the_middle(size: [usize; 2], side: f64) -> Area {
    let [rows, columns] = size.map(|len| {
        let changed = (len as f64 * side).round() as usize;
        let begin = (len - changed) / 2;
        begin..begin + changed
    });
    Area::new(rows, columns)
}
