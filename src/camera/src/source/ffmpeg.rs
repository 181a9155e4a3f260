//! How ffmpeg is asked for frames, and what it says.

use super::{Kind, child, is_device};
use crate::config::{Camera, Format};

pub(super) const PROGRAM: &str = "ffmpeg";

/// Colours become those of BT.601 in limited range, whatever the input has.
pub(super) fn arguments(camera: &Camera, kind: Kind, live: bool) -> Vec<String> {
    let mut words: Vec<String> = ["-nostdin", "-v", "error"].map(String::from).into();
    let mut add = |more: &[&str]| words.extend(more.iter().map(ToString::to_string));
    let size = camera.size.map(|size| (size.width, size.height));
    if is_device(&camera.input) {
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

/// Its last line, as it is asked for errors alone. Where that gives no reason, what a part of ffmpeg said before it does.
#[derive(Default)]
pub(super) struct Complaint {
    told: Option<String>,
    reason: Option<String>,
}

/// What ffmpeg says of whatever it knows no better word for, such as a host without an address.
const ANY: &str = "Input/output error";

impl child::Complaint for Complaint {
    fn hear(&mut self, line: &str) {
        let part = line.strip_prefix('[').and_then(|rest| rest.split_once("] "));
        self.told = Some(match (part, &self.reason) {
            (None, Some(reason)) if line.ends_with(ANY) => format!("{line}: {reason}"),
            _ => line.into(),
        });
        if let Some((_, said)) = part {
            self.reason = Some(said.into());
        }
    }

    fn told(&self) -> Option<&str> {
        self.told.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::child::Complaint as _;
    use super::*;

    #[test]
    fn a_reason_is_told_where_the_last_line_has_none() {
        let told = |lines: &[&str]| {
            let mut complaint = Complaint::default();
            lines.iter().for_each(|line| complaint.hear(line));
            complaint.told().map(str::to_owned)
        };
        let unknown = "Failed to resolve hostname cam: Name or service not known";
        let said = format!("[tcp @ 0x55d0] {unknown}");
        let last = "rtsp://cam/1: Input/output error";
        assert_eq!(told(&[&said, last]), Some(format!("{last}: {unknown}")));
        // Of these lines the last says more than the one before.
        assert_eq!(told(&["[tcp @ 0x55d0] x", "rtsp://cam/1: 401"]).as_deref(), Some("rtsp://cam/1: 401"));
        assert_eq!(told(&[last]).as_deref(), Some(last));
        assert_eq!(told(&[&said]), Some(said));
        assert_eq!(told(&[]), None);
    }
}
