//! What was measured, as JSON or as a table.

use serde::Serialize;

use super::work::BoxesFrom;
use crate::files;
use crate::tables::Column::{Numbers, Words};
use crate::tables::{pairs, table};
use crate::units;

/// What `--json` writes.
#[derive(Serialize)]
pub(super) struct BenchReport {
    pub(super) bundle: String,
    pub(super) threads: usize,
    /// Threads with which `frcnn tune` measured the algorithms; null where they are chosen by a model of their cost.
    pub(super) tuned_on_threads: Option<u32>,
    pub(super) runs: u32,
    /// Boxes that were looked at.
    pub(super) rois: usize,
    /// RoIs that are pooled from different cells.
    pub(super) distinct_rois: usize,
    /// Of these, those that the cascade's judge dropped; null where there is no cascade.
    pub(super) dropped: Option<usize>,
    /// Whether boxes are random, which says nothing of what would be dropped of a photo's.
    pub(super) random_boxes: bool,
    pub(super) boxes_from: BoxesFrom,
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
    /// Maps to logits and deltas, by an RPN; absent where it does not make the boxes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rpn: Option<Percentiles>,
    /// Those to boxes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) proposals: Option<Percentiles>,
    pub(super) roi_pool: Percentiles,
    pub(super) head: Percentiles,
    pub(super) postprocess: Percentiles,
    /// The whole detection, by a clock of its own.
    pub(super) total: Percentiles,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Percentiles {
    pub(super) p50_ms: f64,
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
        let by = if self.boxes_from == BoxesFrom::Rpn { ", proposed by its RPN" } else { "" };
        let mut facts = vec![
            ("bundle", self.bundle.clone()),
            ("frame", size(&self.frame)),
            ("blob", blobs.join(", ") + &resized),
            ("RoIs", format!("{}, {} distinct{by}", self.rois, self.distinct_rois)),
        ];
        if let Some(dropped) = self.dropped {
            let share = units::percent(dropped as f64 / self.distinct_rois.max(1) as f64);
            let random = if self.random_boxes {
                "; boxes are random, and of a photo's own the share is another: --image and --proposals"
            } else {
                ""
            };
            facts.push((
                "dropped",
                format!("{dropped}, {share} of the distinct ones, by the cascade{random}"),
            ));
        }
        facts.extend([("threads", self.threads.to_string())]);
        if let Some(measured_on) = self.tuned_on_threads {
            facts.push(("algorithms", files::tuned_by(measured_on, self.threads)));
        }
        facts.extend([
            ("open", format!("{:.1} ms", self.open_ms)),
            ("first detection", format!("{:.1} ms", self.first_ms)),
            ("peak memory", peak),
        ]);
        let facts = pairs(&facts);
        let stages = &self.stages;
        let rows = [
            ("preprocess", Some(stages.preprocess)),
            ("trunk", Some(stages.trunk)),
            ("RPN", stages.rpn),
            ("proposals", stages.proposals),
            ("RoI pool", Some(stages.roi_pool)),
            ("head", Some(stages.head)),
            ("postprocess", Some(stages.postprocess)),
            ("total", Some(stages.total)),
        ];
        let rows = rows.into_iter().filter_map(|(stage, times)| {
            let Percentiles { p50_ms, p95_ms } = times?;
            Some(vec![stage.to_string(), format!("{p50_ms:.2}"), format!("{p95_ms:.2}")])
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
