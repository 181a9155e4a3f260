//! Follows objects through detections from standard input, one frame after another:
//!
//! ```text
//! S 1280 720                              before all others: the size of the frames
//! F 0.04                                  a frame, captured at this second
//! D 1 0.93 100.5 20 180 60.25             class, score and box of a detection in it
//! ```
//!
//! For each object of each frame it writes a line: number of the frame, id, box. An object that was not seen for half a
//! second is left out.
use std::error::Error;
use std::io::{BufRead, Write, stdin, stdout};
use std::time::Duration;

use frcnn_core::BBox;
use frcnn_tracks::{Looked, Observation, Options, Tracker};

/// How long an object that is not seen is shown where it is expected.
const SHOWN: Duration = Duration::from_millis(500);

fn main() -> Result<(), Box<dyn Error>> {
    let mut tracker = Tracker::new(Options::default())?;
    let mut frame: Option<(usize, Duration)> = None;
    let mut found = Vec::new();
    let mut out = std::io::BufWriter::new(stdout().lock());
    for line in stdin().lock().lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        let kind = words.next();
        let numbers = words.map(str::parse).collect::<Result<Vec<f64>, _>>()?;
        match (kind, &numbers[..]) {
            (Some("S"), [width, height]) => {
                let frame_size = Some([*width as u32, *height as u32]);
                tracker = Tracker::new(Options { frame_size, ..Options::default() })?;
            }
            (Some("F"), [time]) => {
                let next = frame.map_or(0, |(index, _)| index + 1);
                follow(&mut tracker, frame, &mut found, &mut out)?;
                frame = Some((next, Duration::try_from_secs_f64(*time)?));
            }
            (Some("D"), [class, score, x1, y1, x2, y2]) => found.push(Observation {
                class: *class as u32,
                score: *score as f32,
                bbox: BBox::new(*x1 as f32, *y1 as f32, *x2 as f32, *y2 as f32),
            }),
            _ => return Err(format!("`{line}` is neither a frame nor a detection").into()),
        }
    }
    follow(&mut tracker, frame, &mut found, &mut out)
}

fn follow(
    tracker: &mut Tracker,
    frame: Option<(usize, Duration)>,
    found: &mut Vec<Observation>,
    out: &mut impl Write,
) -> Result<(), Box<dyn Error>> {
    let Some((index, time)) = frame else { return Ok(()) };
    tracker.update(time, found, Looked::Everywhere);
    found.clear();
    for object in tracker.objects() {
        if time.saturating_sub(object.last_seen) <= SHOWN {
            let BBox { x1, y1, x2, y2 } = object.bbox;
            writeln!(out, "{index} {} {x1} {y1} {x2} {y2}", object.id)?;
        }
    }
    Ok(())
}
