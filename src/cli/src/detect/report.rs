//! What was found in one image, as a line of JSON or as a table.

use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

use frcnn::{Detection, Detector, Proposals, Session};
use frcnn_core::Printable;
use serde::{Deserialize, Serialize};

use crate::inputs::images::ImageFile;
use crate::tables::Column::{Numbers, Words};
use crate::tables::table;
use crate::units::{self, milliseconds};

/// One image's detections; its fields in this order are the line that `--json` writes.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct ImageReport<'a> {
    /// Which of the command's images it is, in a run's file; what is printed does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<usize>,
    /// The path.
    image: String,
    width: u32,
    height: u32,
    proposals: ProposalsReport,
    /// Best first.
    detections: Vec<Found<'a>>,
    /// Predictions that were left out.
    not_finite: usize,
    timing_ms: TimingMs,
}

/// The boxes that were looked at.
pub(super) struct Looked {
    pub(super) count: usize,
    /// `file`, `rpn` or a method of `--proposals-from`.
    pub(super) from: String,
    /// How long they took before the detection began.
    pub(super) made_in: Duration,
}

impl Looked {
    /// Those of the network's own RPN, after a detection.
    pub(super) fn learned(session: &Session) -> Looked {
        Looked { count: session.proposals().len(), from: RPN.to_string(), made_in: Duration::ZERO }
    }

    pub(super) fn made(proposals: &Proposals) -> Looked {
        Looked {
            count: proposals.boxes.len(),
            from: proposals.method.to_string(),
            made_in: proposals.elapsed,
        }
    }
}

/// The network's own.
const RPN: &str = "rpn";

#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct ProposalsReport {
    count: usize,
    from: String,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Found<'a> {
    class: Cow<'a, str>,
    class_id: u16,
    score: f32,
    /// x1, y1, x2, y2 in pixels, `x2 - x1` wide where corners are edges, else a pixel more: `Manifest::width_offset`.
    r#box: [f32; 4],
}

#[derive(Clone, Serialize, Deserialize)]
struct TimingMs {
    decode: f64,
    /// 0 where a file has them; of an RPN, from its logits and deltas on.
    proposals: f64,
    preprocess: f64,
    trunk: f64,
    /// 0 where others propose.
    rpn: f64,
    roi_pool: f64,
    head: f64,
    postprocess: f64,
}

impl<'a> ImageReport<'a> {
    pub(super) fn new(
        image: &ImageFile,
        (width, height): (u32, u32),
        detections: &[Detection],
        detector: &'a Detector,
        decode: Duration,
        looked: &Looked,
        session: &Session,
    ) -> ImageReport<'a> {
        let timings = session.timings();
        let detections = detections.iter().map(|found| Found {
            class: detector.class_name(found.class_id).into(),
            class_id: found.class_id,
            score: found.score,
            r#box: [found.bbox.x1, found.bbox.y1, found.bbox.x2, found.bbox.y2],
        });
        ImageReport {
            position: None,
            image: image.path.display().to_string(),
            width,
            height,
            proposals: ProposalsReport { count: looked.count, from: looked.from.clone() },
            detections: detections.collect(),
            not_finite: session.not_finite(),
            timing_ms: TimingMs {
                decode: milliseconds(decode),
                proposals: milliseconds(looked.made_in + timings.proposals),
                preprocess: milliseconds(timings.preprocess),
                trunk: milliseconds(timings.trunk),
                rpn: milliseconds(timings.rpn),
                roi_pool: milliseconds(timings.roi_pool),
                head: milliseconds(timings.head),
                postprocess: milliseconds(timings.postprocess),
            },
        }
    }

    /// As a run's file has it.
    #[cfg(feature = "compile")]
    pub(super) fn kept_at(self, position: usize) -> ImageReport<'static> {
        let owned = |found: Found<'_>| Found { class: found.class.into_owned().into(), ..found };
        let detections = self.detections.into_iter().map(owned).collect();
        ImageReport { position: Some(position), detections, ..self }
    }

    /// For people; `picture` is where the detections were drawn.
    pub(super) fn text(&self, picture: Option<&Path>) -> String {
        let found = self.detections.len();
        let drawn = picture.map_or(String::new(), |path| format!(" -> {}", Printable(path.display())));
        let by = if self.proposals.from == RPN { " of its RPN" } else { "" };
        let mut text = format!(
            "{}: {} x {}, {}{by}, {} in {:.0} ms{drawn}\n",
            Printable(&self.image),
            self.width,
            self.height,
            units::several(self.proposals.count, "proposal"),
            units::several(found, "detection"),
            self.timing_ms.detect()
        );
        if found > 0 {
            let columns = [
                Words("class"),
                Numbers("score"),
                Numbers("x1"),
                Numbers("y1"),
                Numbers("x2"),
                Numbers("y2"),
            ];
            let rows = self.detections.iter().map(|found| {
                let mut row = vec![found.class.to_string(), format!("{:.3}", found.score)];
                row.extend(found.r#box.iter().map(|corner| format!("{corner:.1}")));
                row
            });
            text += &format!("\n{}\n", table(&columns, rows));
        }
        text
    }
}

#[cfg(feature = "compile")]
impl ImageReport<'_> {
    pub(super) fn position(&self) -> Option<usize> {
        self.position
    }

    pub(super) fn image(&self) -> &str {
        &self.image
    }

    /// Whether all but the times is the same.
    pub(super) fn finds_the_same(&self, other: &ImageReport<'_>) -> bool {
        let whole = |report: &ImageReport<'_>| (report.width, report.height, report.not_finite);
        self.proposals == other.proposals
            && self.detections == other.detections
            && whole(self) == whole(other)
    }

    /// As `--json` prints it.
    pub(super) fn as_printed(&self) -> ImageReport<'_> {
        ImageReport { position: None, ..self.clone() }
    }
}

impl TimingMs {
    /// From decoded pixels to detections.
    fn detect(&self) -> f64 {
        let proposals = self.rpn + self.proposals;
        proposals + self.preprocess + self.trunk + self.roi_pool + self.head + self.postprocess
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(detections: Vec<Found<'static>>, count: usize, from: &str) -> ImageReport<'static> {
        let timing_ms = TimingMs {
            decode: 1.5,
            proposals: 8.0,
            preprocess: 2.0,
            trunk: 29.0,
            rpn: 1.0,
            roi_pool: 0.25,
            head: 4.0,
            postprocess: 0.125,
        };
        ImageReport {
            position: None,
            image: "a/b.jpg".to_string(),
            width: 640,
            height: 480,
            proposals: ProposalsReport { count, from: from.to_string() },
            detections,
            not_finite: 0,
            timing_ms,
        }
    }

    fn cat() -> Found<'static> {
        Found { class: "cat".into(), class_id: 8, score: 0.875, r#box: [1.0, 2.5, 30.0, 40.0] }
    }

    #[test]
    fn the_json_line_is_the_documented_one() {
        assert_eq!(
            serde_json::to_string(&report(vec![cat()], 920, "file")).unwrap(),
            r#"{"image":"a/b.jpg","width":640,"height":480,"proposals":{"count":920,"from":"file"},"#
                .to_string()
                + r#""detections":[{"class":"cat","class_id":8,"score":0.875,"box":[1.0,2.5,30.0,40.0]}],"not_finite":0,"#
                + r#""timing_ms":{"decode":1.5,"proposals":8.0,"preprocess":2.0,"trunk":29.0,"rpn":1.0,"roi_pool":0.25,"head":4.0,"postprocess":0.125}}"#
        );
    }

    #[test]
    fn the_table_is_for_people() {
        let text = report(vec![cat()], 920, "grid").text(Some(Path::new("out/b.png")));
        assert!(
            text.starts_with("a/b.jpg: 640 x 480, 920 proposals, 1 detection in 44 ms -> out/b.png\n"),
            "{text}"
        );
        assert!(text.contains(" cat     0.875   1.0   2.5   30.0   40.0\n"), "{text}");
        assert!(report(Vec::new(), 0, "grid").text(None).ends_with("0 proposals, 0 detections in 44 ms\n"));
        let learned = report(Vec::new(), 9, "rpn").text(None);
        assert!(learned.contains("9 proposals of its RPN, 0 detections"), "{learned}");
    }
}
