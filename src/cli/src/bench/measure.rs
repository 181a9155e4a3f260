//! The measurement itself.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Instant;

use frcnn::{Frame, Options, Timings};

use super::report::{BenchReport, Percentiles, StageTimes};
use super::work::{BoxesFrom, Work};
use crate::error::Error;
use crate::files;
use crate::units::milliseconds;

/// Opens `bundle`, detects twice, and then `runs` times. If the bundle has an RPN it makes the boxes, unless some are `given`.
pub(super) fn measure(
    bundle: &Path,
    work: &Work,
    given: bool,
    options: &Options,
    runs: u32,
) -> Result<BenchReport, Error> {
    let failed = |error: frcnn::Error| Error::file(bundle, error);
    into_page_cache(bundle)?;

    let start = Instant::now();
    let detector = files::open_detector(bundle, options)?;
    let open_ms = milliseconds(start.elapsed());

    let (width, height) = work.pixels.dimensions();
    let frame = Frame::rgb8(work.pixels.as_raw(), width, height).map_err(|error| failed(error.into()))?;
    let mut session = detector.session();
    let from = if detector.has_rpn() && !given { BoxesFrom::Rpn } else { work.from };
    let (mut dropped, mut looked) = ((0, 0), work.boxes.len());
    let mut detect = || {
        let start = Instant::now();
        let boxes = (from != BoxesFrom::Rpn).then_some(&work.boxes[..]);
        session.detect_among(&frame, boxes).map_err(failed)?;
        let total = milliseconds(start.elapsed());
        dropped = session.dropped();
        if from == BoxesFrom::Rpn {
            looked = session.proposals().len();
        }
        Ok((*session.timings(), total))
    };
    let (_, first_ms) = detect()?;
    detect()?;
    let steady = (0..runs).map(|_| detect()).collect::<Result<Vec<_>, Error>>()?;
    // Before anything below takes memory that detecting does not need.
    let peak_rss_mib = peak_rss_mib();

    let blobs = session.preprocess(&frame).map_err(failed)?;
    let stage = |of: fn(&Timings) -> std::time::Duration| {
        Percentiles::of(steady.iter().map(|(timings, _)| milliseconds(of(timings))).collect())
    };
    let learned = |of| (from == BoxesFrom::Rpn).then(|| stage(of));
    Ok(BenchReport {
        bundle: bundle.display().to_string(),
        threads: detector.threads(),
        tuned_on_threads: files::tuned_on(bundle, &detector),
        runs,
        rois: looked,
        // Those that stayed are told with those that were dropped.
        distinct_rois: dropped.1,
        dropped: detector.contents().cascade.as_ref().map(|_| dropped.0),
        random_boxes: from == BoxesFrom::Random,
        boxes_from: from,
        frame: [height as usize, width as usize],
        blob: blobs.iter().map(|blob| [blob.height, blob.width]).collect(),
        open_ms,
        first_ms,
        stages: StageTimes {
            preprocess: stage(|timings| timings.preprocess),
            trunk: stage(|timings| timings.trunk),
            rpn: learned(|timings| timings.rpn),
            proposals: learned(|timings| timings.proposals),
            roi_pool: stage(|timings| timings.roi_pool),
            head: stage(|timings| timings.head),
            postprocess: stage(|timings| timings.postprocess),
            total: Percentiles::of(steady.iter().map(|(_, total)| *total).collect()),
        },
        peak_rss_mib,
    })
}

/// Reads the file in small pieces, which leaves the peak of this process's memory alone.
fn into_page_cache(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|mut file| io::copy(&mut file, &mut io::sink()))
        .map_err(|error| Error::file(path, error))?;
    Ok(())
}

/// The largest memory that this process has had resident, in MiB, where the system tells.
fn peak_rss_mib() -> Option<f64> {
    parse_peak_rss_mib(&fs::read_to_string("/proc/self/status").ok()?)
}

fn parse_peak_rss_mib(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peak_memory_is_read_where_it_is_told() {
        assert_eq!(parse_peak_rss_mib("VmPeak:\t 9000 kB\nVmHWM:\t    1536 kB\nVmRSS:\t 1 kB\n"), Some(1.5));
        assert_eq!(parse_peak_rss_mib("VmRSS:\t 1 kB\n"), None);
        assert_eq!(parse_peak_rss_mib("VmHWM:\t many kB\n"), None);
    }
}
