//! What was measured, as JSON or as a table.

use serde::Serialize;

use crate::tables::Column::{Numbers, Words};
use crate::tables::{pairs, table};
use crate::units;

/// What `--json` writes.
#[derive(Serialize)]
pub(super) struct BenchReport {
    pub(super) bundle: String,
    pub(super) threads: usize,
    pub(super) runs: u32,
    /// Boxes given.
    pub(super) rois: usize,
    /// RoIs that the head saw.
    pub(super) distinct_rois: usize,
    /// Height and width.
    pub(super) frame: [usize; 2],
    /// Height and width at each of the manifest's scales.
    pub(super) blob: Vec<[usize; 2]>,
    pub(super) open_ms: f64,
    pub(super) first_ms: f64,
    pub(super) stages: StageTimes,
    /// In MiB.
    pub(super) peak_rss_mib: Option<f64>,
}

/// Of one detection.
#[derive(Serialize)]
pub(super) struct StageTimes {
    pub(super) preprocess: Percentiles,
    pub(super) trunk: Percentiles,
    pub(super) roi_pool: Percentiles,
    pub(super) head: Percentiles,
    pub(super) postprocess: Percentiles,
    /// The whole detection, by a clock of its own.
    pub(super) total: Percentiles,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Percentiles {
    p50_ms: f64,
    p95_ms: f64,
}

impl Percentiles {
    /// By nearest rank: the smallest of the times that at least that share of them does not exceed.
    pub(super) fn of(mut times: Vec<f64>) -> Percentiles {
        times.sort_by(f64::total_cmp);
        let percentile = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100);
            times.get(rank.saturating_sub(1)).copied().unwrap_or_default()
        };
        Percentiles { p50_ms: percentile(50), p95_ms: percentile(95) }
    }
}

impl BenchReport {
    /// For people.
    pub(super) fn text(&self) -> String {
        let size = |&[height, width]: &[usize; 2]| format!("{height} x {width}");
        let blobs: Vec<String> = self.blob.iter().map(size).collect();
        let resized = if self.blob.iter().all(|blob| *blob == self.frame) {
            String::new()
        } else {
            " (the manifest's scales resize the frame)".to_string()
        };
        let peak = self.peak_rss_mib.map_or("not told by this system".to_string(), |mib| {
            units::bytes((mib * 1024.0 * 1024.0) as u64)
        });
        let facts = pairs(&[
            ("bundle", self.bundle.clone()),
            ("frame", size(&self.frame)),
            ("blob", blobs.join(", ") + &resized),
            ("RoIs", format!("{}, {} distinct", self.rois, self.distinct_rois)),
            ("threads", self.threads.to_string()),
            ("open", format!("{:.1} ms", self.open_ms)),
            ("first detection", format!("{:.1} ms", self.first_ms)),
            ("peak memory", peak),
        ]);
        let stages = &self.stages;
        let rows = [
            ("preprocess", stages.preprocess),
            ("trunk", stages.trunk),
            ("RoI pool", stages.roi_pool),
            ("head", stages.head),
            ("postprocess", stages.postprocess),
            ("total", stages.total),
        ];
        let rows = rows.map(|(stage, Percentiles { p50_ms, p95_ms })| {
            vec![stage.to_string(), format!("{p50_ms:.2}"), format!("{p95_ms:.2}")]
        });
        let columns = [Words("stage"), Numbers("p50 ms"), Numbers("p95 ms")];
        let plural = if self.runs == 1 { "" } else { "s" };
        format!("{facts}\nOver {} run{plural}\n\n{}", self.runs, table(&columns, rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_times_measured() {
        for (times, p50_ms, p95_ms) in [
            (vec![3.0], 3.0, 3.0),
            (vec![2.0, 1.0], 1.0, 2.0),
            ((1..=10).rev().map(f64::from).collect(), 5.0, 10.0),
            ((1..=100).map(f64::from).collect(), 50.0, 95.0),
        ] {
            assert_eq!(Percentiles::of(times), Percentiles { p50_ms, p95_ms });
        }
    }
}
