//! Whether two lists of detections are the same.

pub use frcnn_eval::Found;

/// What two lists may differ in and still count as equal.
pub struct Tolerance {
    /// Detections below this score are not compared.
    pub min_score: f32,
    /// A pair's boxes must overlap at least this much.
    pub iou: f32,
    /// A pair's scores may differ by this much.
    pub score: f32,
    /// The threshold of non-maximum suppression, and how near to it an overlap may fall either way.
    pub nms: (f32, f32),
}

/// Differences between two lists, in words, and those that [`Tolerance::nms`] excuses.
#[derive(Default, Debug)]
pub struct Differences {
    /// Real ones.
    pub real: Vec<String>,
    /// Detections whose suppression hangs on an overlap at the threshold.
    pub excused: Vec<String>,
}

/// Pairs each detection of either list with one of the other.
pub fn compare(expected: &[Found], found: &[Found], tolerance: &Tolerance) -> Differences {
    let mut differences = Differences::default();
    for (what, these, those) in [("missing", expected, found), ("extra", found, expected)] {
        for one in these.iter().filter(|d| d.score >= tolerance.min_score) {
            let is_pair = |other: &&Found| {
                other.class_id == one.class_id
                    && other.bbox.iou(&one.bbox, 1.0) >= tolerance.iou
                    && (other.score - one.score).abs() <= tolerance.score
            };
            if those.iter().any(|other| is_pair(&other)) {
                continue;
            }
            let (threshold, margin) = tolerance.nms;
            let at_threshold = these.iter().chain(those).find(|other| {
                other.class_id == one.class_id && (other.bbox.iou(&one.bbox, 1.0) - threshold).abs() <= margin
            });
            match at_threshold {
                Some(other) => {
                    differences.excused.push(format!("{what}: {one:?}, at the threshold with {other:?}"))
                }
                None => differences.real.push(format!("{what}: {one:?}")),
            }
        }
    }
    differences
}
