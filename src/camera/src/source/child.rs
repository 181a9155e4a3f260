//! ffmpeg or GStreamer, which read what we do not: started, watched, and ended with us.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::Kind;
use crate::config::{Camera, Format, Reader};

/// Of what a child says, so much is kept of a line.
const LINE: u64 = 4096;
/// And so much of that is told.
const TOLD: usize = 240;

/// Where a camera's child is found by whoever ends the program.
#[derive(Clone, Default)]
pub(crate) struct Handle(Arc<Mutex<Place>>);

#[derive(Default)]
struct Place {
    child: Option<std::process::Child>,
    /// No child may start any more.
    closed: bool,
}

impl Handle {
    fn lock(&self) -> MutexGuard<'_, Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the child, if there is one, and lets none start any more.
    pub(crate) fn close(&self) {
        let mut place = self.lock();
        place.closed = true;
        end(&mut place);
    }
}

/// What a child came to.
fn end(place: &mut Place) -> Option<ExitStatus> {
    let mut child = place.child.take()?;
    // It may have ended by itself.
    let _ = child.kill();
    child.wait().ok()
}

/// A program that writes frames.
pub(crate) struct Child {
    program: &'static str,
    handle: Handle,
    /// Gives the last line that it said.
    errors: Option<JoinHandle<Option<String>>>,
}

impl Child {
    /// Waits for a child whose output has ended. `Err` says how it failed, or what it complained of.
    pub(crate) fn finish(mut self) -> Result<(), String> {
        // Its output has ended, so it is about to end. One that does not is no longer of use.
        let started = std::time::Instant::now();
        let status = loop {
            let mut place = self.handle.lock();
            match place.child.as_mut().map(std::process::Child::try_wait) {
                Some(Ok(None)) if started.elapsed().as_secs() < 2 => {}
                _ => break end(&mut place),
            }
            drop(place);
            std::thread::sleep(std::time::Duration::from_millis(20));
        };
        let said = self.errors.take().and_then(|errors| errors.join().ok().flatten());
        let how = match status {
            Some(status) if status.success() && said.is_none() => return Ok(()),
            Some(status) if status.success() => "complained".to_string(),
            Some(status) => status.to_string(),
            None => "cannot be waited for".to_string(),
        };
        Err(format!("{}: {how}{}", self.program, said.map(|line| format!(": {line}")).unwrap_or_default()))
    }

    /// Ends it.
    pub(crate) fn kill(self) {
        end(&mut self.handle.lock());
    }
}

/// Starts what reads the input and writes YUV4MPEG2; the descriptor is its output.
pub(crate) fn start(
    camera: &Camera,
    kind: Kind,
    live: bool,
    handle: &Handle,
) -> Result<(Child, OwnedFd), String> {
    let (program, arguments) = match camera.reader {
        Reader::Ffmpeg => ("ffmpeg", ffmpeg(camera, kind, live)),
        Reader::Gstreamer => ("gst-launch-1.0", gstreamer(camera, live)),
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Ctrl-C is for us: we end it.
    command.process_group(0);
    let mut place = handle.lock();
    if place.closed {
        return Err("the program ends".into());
    }
    // What ran before and was not waited for.
    end(&mut place);
    let mut child = command.spawn().map_err(|error| format!("{program}: cannot be started: {error}"))?;
    let (Some(output), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(format!("{program}: has no output"));
    };
    place.child = Some(child);
    drop(place);
    let errors = std::thread::Builder::new().name("child".into()).spawn(move || last_line(errors)).ok();
    Ok((Child { program, handle: handle.clone(), errors }, output.into()))
}

/// Reads all of it, and keeps the last line that says something.
fn last_line(errors: impl Read) -> Option<String> {
    let (mut errors, mut last) = (BufReader::new(errors), None);
    let mut line = Vec::new();
    while (&mut errors).take(LINE).read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
        let text = String::from_utf8_lossy(&line);
        if !text.trim().is_empty() {
            last = Some(told(text.trim()));
        }
        line.clear();
    }
    last
}

/// A line without what acts on a terminal and without passwords, cut where it is long.
fn told(line: &str) -> String {
    let line = frcnn_core::Printable(&without_passwords(line)).to_string();
    line[..line.floor_char_boundary(TOLD)].to_string()
}

/// `rtsp://user:secret@camera/` as `rtsp://***@camera/`.
pub(crate) fn without_passwords(text: &str) -> String {
    let (mut clean, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("://") {
        let (before, behind) = rest.split_at(at + 3);
        clean.push_str(before);
        let end = behind.find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(behind.len());
        rest = match behind[..end].rfind('@') {
            Some(user) => {
                clean.push_str("***");
                &behind[user..]
            }
            None => behind,
        };
    }
    clean + rest
}

/// Colours become those of BT.601 in limited range, whatever the input has.
fn ffmpeg(camera: &Camera, kind: Kind, live: bool) -> Vec<String> {
    let mut words: Vec<String> = ["-nostdin", "-v", "error"].map(String::from).into();
    let mut add = |more: &[&str]| words.extend(more.iter().map(ToString::to_string));
    let size = camera.size.map(|size| (size.width, size.height));
    if super::is_device(&camera.input) {
        add(&["-f", "v4l2"]);
        if let Some(format) = camera.format {
            add(&["-input_format", device_format(format)]);
        }
        if let Some((width, height)) = size {
            add(&["-video_size", &format!("{width}x{height}")]);
        }
    } else if camera.input.starts_with("rtsp") {
        add(&["-rtsp_transport", "tcp"]);
    } else if kind == Kind::File && live {
        add(&["-re"]);
    }
    add(&["-i", &camera.input, "-an", "-sn", "-dn"]);
    let mut scale = String::from("scale=out_color_matrix=bt601:out_range=tv");
    if let Some((width, height)) = size {
        scale += &format!(":w={width}:h={height}");
    }
    add(&["-vf", &scale, "-pix_fmt", "yuv420p"]);
    if kind == Kind::Camera {
        // Frames as they come: none is made up where time passes without.
        add(&["-fps_mode", "passthrough"]);
    }
    add(&["-f", "yuv4mpegpipe", "-"]);
    words
}

fn device_format(format: Format) -> &'static str {
    match format {
        Format::Rgb24 => "rgb24",
        Format::Bgr24 => "bgr24",
        Format::Gray8 => "gray",
        Format::Yuyv => "yuyv422",
        Format::Uyvy => "uyvy422",
        Format::Nv12 => "nv12",
        Format::Nv21 => "nv21",
        Format::I420 => "yuv420p",
        Format::Mjpeg => "mjpeg",
        Format::Rgba32 => "rgb0",
        Format::Bgra32 => "bgr0",
    }
}

fn gstreamer(camera: &Camera, live: bool) -> Vec<String> {
    let mut words: Vec<String> = vec!["-q".into()];
    let mut add = |more: &[&str]| words.extend(more.iter().map(ToString::to_string));
    let input = &camera.input;
    if super::is_device(input) {
        add(&["v4l2src", &format!("device={input}"), "!", "decodebin"]);
    } else if super::is_url(input) {
        add(&["uridecodebin", &format!("uri={input}")]);
    } else {
        // gst-launch takes a relative path from its own folder, which is ours.
        let path = Path::new(input).to_string_lossy().into_owned();
        add(&["filesrc", &format!("location={path}"), "!", "decodebin"]);
    }
    add(&["!", "videoconvert", "!", "videoscale", "!"]);
    let size = camera.size.map(|size| format!(",width={},height={}", size.width, size.height));
    add(&[
        &format!("video/x-raw,format=I420,colorimetry=bt601{}", size.unwrap_or_default()),
        "!",
        "y4menc",
        "!",
        "fdsink",
    ]);
    if live && !super::is_url(input) && !super::is_device(input) {
        add(&["sync=true"]);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_told() {
        for (text, clean) in [
            ("rtsp://me:se@cret@cam:554/a@b: refused", "rtsp://***@cam:554/a@b: refused"),
            ("http://cam/x, rtsp://u@h", "http://cam/x, rtsp://***@h"),
            ("no address", "no address"),
            ("://", "://"),
        ] {
            assert_eq!(without_passwords(text), clean);
        }
    }

    #[test]
    fn the_last_line_is_kept_and_bounded() {
        let said = format!("first\n\x1b[31mbad\n{}\n\n", "x".repeat(10_000));
        let last = last_line(said.as_bytes()).unwrap();
        assert!(last.len() <= TOLD && last.starts_with('x'), "{last}");
        assert!(!last_line(&b"\x1b[31mbad\n"[..]).unwrap().contains('\x1b'));
        assert_eq!(last_line(&b""[..]), None);
    }
}
