//! The counters as Prometheus reads them (text format 0.0.4).

use std::fmt::Write;

use crate::status::{BOUNDS, CameraStatus, Count, STAGES, State, Status, Total};

/// What is said of each counter of a camera.
const COUNTS: [(Count, &str, &str, &str); crate::status::COUNTS] = [
    (Count::FramesRead, "frames_read_total", "counter", "Whole frames from the source."),
    (Count::FramesCompleted, "frames_completed_total", "counter", "Frames looked at."),
    (Count::FramesDropped, "frames_dropped_total", "counter", "Frames passed over for newer ones."),
    (Count::FramesCorrupt, "frames_corrupt_total", "counter", "Frames that could not be decoded."),
    (Count::FramesCut, "frames_cut_total", "counter", "Frames ended by the end of the stream."),
    (Count::FramesResized, "frames_resized_total", "counter", "Frames of another size than the one before."),
    (
        Count::FramesStill,
        "frames_still_total",
        "counter",
        "Frames without a proposal; the network did not run.",
    ),
    (
        Count::Cells,
        "cells_total",
        "counter",
        "Cells of 8 x 8 pixels that were compared with those of before.",
    ),
    (
        Count::CellsChanged,
        "cells_changed_total",
        "counter",
        "Cells that differed by more than the tolerance.",
    ),
    (Count::Regions, "regions_total", "counter", "Distinct regions that were judged."),
    (Count::RegionsReused, "regions_reused_total", "counter", "Regions whose judgement was kept."),
    (Count::KeptBytes, "kept_bytes", "gauge", "Memory of what is kept from frame to frame."),
    (Count::Detections, "detections_total", "counter", "Objects found."),
    (
        Count::NotFinite,
        "predictions_not_finite_total",
        "counter",
        "Predictions left out: score or box is not finite.",
    ),
    (Count::Up, "up", "gauge", "Whether frames can come."),
    (Count::Lost, "lost_total", "counter", "Times that the camera was lost."),
    (Count::ObjectsStarted, "objects_started_total", "counter", "Objects that were followed and confirmed."),
    (Count::ObjectsEnded, "objects_ended_total", "counter", "Objects that are gone."),
];

const TOTALS: [(Total, &str, &str, &str); crate::status::TOTALS] = [
    (Total::ModelReloads, "model_reloads_total", "counter", "Models loaded while running."),
    (
        Total::ModelReloadsFailed,
        "model_reloads_failed_total",
        "counter",
        "Reloads that left the old model in place.",
    ),
    (Total::MqttConnected, "mqtt_connected", "gauge", "Whether the broker is connected."),
    (Total::MqttPublished, "mqtt_published_total", "counter", "Messages that the broker acknowledged."),
    (Total::MqttDropped, "mqtt_dropped_total", "counter", "Messages given up because the queue was full."),
    (
        Total::MqttFailed,
        "mqtt_failed_total",
        "counter",
        "Failed attempts to reach the broker, and lost connections.",
    ),
    (Total::SnapshotsWritten, "snapshots_written_total", "counter", "Snapshots written."),
    (Total::SnapshotsFailed, "snapshots_failed_total", "counter", "Snapshots that could not be written."),
];

impl Status {
    /// All counters, states and histograms.
    #[must_use]
    pub fn prometheus(&self) -> String {
        let cameras = self.cameras();
        let mut page = Page { text: String::with_capacity(16 << 10), labelled: self.is_labelled() };
        for (count, name, kind, help) in COUNTS {
            page.about(name, kind, help);
            cameras.iter().for_each(|camera| page.value(name, camera, "", camera.get(count)));
        }
        for (total, name, kind, help) in TOTALS {
            page.about(name, kind, help);
            page.line(format_args!("{name} {}", self.get(total)));
        }
        let gauges: [Gauge; 3] = [
            ("frames_per_second", "gauge", "Frames looked at.", |camera| camera.frame_rate()),
            (
                "trunks_total",
                "counter",
                "Trunks computed: each frame's share that was computed anew, added up.",
                |camera| camera.work().trunks,
            ),
            ("tolerance", "gauge", "Grey levels that a cell may differ by.", |camera| {
                camera.work().tolerance.into()
            }),
        ];
        for (name, kind, help, value) in gauges {
            page.about(name, kind, help);
            cameras.iter().for_each(|camera| page.value(name, camera, "", finite(value(camera))));
        }
        if self.is_labelled() {
            page.about("state", "gauge", "1 for what the camera is at.");
            for camera in &cameras {
                for state in State::ALL {
                    let here = u8::from(camera.state() == state);
                    page.value("state", camera, &format!("state=\"{}\"", state.name()), here);
                }
            }
        }
        page.about("stage_seconds", "histogram", "Time of each stage.");
        cameras.iter().for_each(|camera| page.histograms(camera));
        page.text
    }
}

/// Name, kind, help and value.
type Gauge = (&'static str, &'static str, &'static str, fn(&CameraStatus) -> f64);

/// Prometheus has words for what is not finite, which no reader of ours needs.
fn finite(value: f64) -> f64 {
    if value.is_finite() { value } else { 0.0 }
}

struct Page {
    text: String,
    labelled: bool,
}

impl Page {
    fn line(&mut self, line: std::fmt::Arguments) {
        // Writing to a string has nothing to fail.
        let _ = writeln!(self.text, "frcnn_camera_{line}");
    }

    fn about(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP frcnn_camera_{name} {help}\n# TYPE frcnn_camera_{name} {kind}");
    }

    /// A camera's name has only letters, digits, `-` and `_`: it needs no escapes.
    fn value(&mut self, name: &str, camera: &CameraStatus, labels: &str, value: impl std::fmt::Display) {
        let camera = if self.labelled { format!("camera=\"{}\"", camera.name()) } else { String::new() };
        let comma = if camera.is_empty() || labels.is_empty() { "" } else { "," };
        match camera.is_empty() && labels.is_empty() {
            true => self.line(format_args!("{name} {value}")),
            false => self.line(format_args!("{name}{{{camera}{comma}{labels}}} {value}")),
        }
    }

    fn histograms(&mut self, camera: &CameraStatus) {
        let stages = camera.work().stages;
        for (stage, histogram) in STAGES.iter().zip(&stages) {
            let label = format!("stage=\"{stage}\"");
            for (bound, count) in BOUNDS.iter().zip(histogram.buckets) {
                self.value("stage_seconds_bucket", camera, &format!("{label},le=\"{bound}\""), count);
            }
            self.value("stage_seconds_bucket", camera, &format!("{label},le=\"+Inf\""), histogram.count);
            self.value("stage_seconds_sum", camera, &label, histogram.sum);
            self.value("stage_seconds_count", camera, &label, histogram.count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_command_lines_camera_has_no_label_and_a_files_has() {
        let status = Status::new(false);
        let camera = status.camera(&"camera".into());
        camera.completed([Duration::from_millis(3); 8], 0.5, Some(1.5));
        let page = status.prometheus();
        for line in [
            "frcnn_camera_frames_completed_total 1",
            "frcnn_camera_trunks_total 0.5",
            "frcnn_camera_tolerance 1.5",
            "frcnn_camera_mqtt_connected 0",
            "frcnn_camera_stage_seconds_bucket{stage=\"trunk\",le=\"0.0025\"} 0",
            "frcnn_camera_stage_seconds_bucket{stage=\"trunk\",le=\"0.005\"} 1",
            "frcnn_camera_stage_seconds_count{stage=\"total\"} 1",
        ] {
            assert!(page.lines().any(|one| one == line), "{line} is not in {page}");
        }
        let status = Status::new(true);
        status.camera(&"yard".into()).add(Count::FramesRead, 2);
        let page = status.prometheus();
        assert!(page.contains("frcnn_camera_frames_read_total{camera=\"yard\"} 2\n"), "{page}");
        assert!(page.contains("frcnn_camera_state{camera=\"yard\",state=\"starting\"} 1\n"), "{page}");
    }

    #[test]
    fn each_counter_is_told_once() {
        for (i, (count, ..)) in COUNTS.iter().enumerate() {
            assert_eq!(*count as usize, i);
        }
        for (i, (total, ..)) in TOTALS.iter().enumerate() {
            assert_eq!(*total as usize, i);
        }
    }
}
