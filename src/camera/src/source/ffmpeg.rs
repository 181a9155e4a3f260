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

/// Its last line: it is asked for errors alone.
#[derive(Default)]
pub(super) struct Complaint(Option<String>);

impl child::Complaint for Complaint {
    fn hear(&mut self, line: &str) {
        self.0 = Some(line.into());
    }

    fn told(&self) -> Option<&str> {
        self.0.as_deref()
    }
}
