//! How GStreamer is asked for frames, and what it says.

use super::{Kind, child, is_device, is_url};
use crate::config::{Camera, Format};

pub(super) const PROGRAM: &str = "gst-launch-1.0";

/// Colours become those of BT.601 in limited range, whatever the input has.
pub(super) fn arguments(camera: &Camera, kind: Kind, live: bool) -> Vec<String> {
    let mut words: Vec<String> = vec!["-q".into()];
    let mut add = |more: &[&str]| words.extend(more.iter().map(ToString::to_string));
    let input = &camera.input;
    if is_device(input) {
        add(&["v4l2src", &property("device", input), "!"]);
        if let Some(caps) = device_caps(camera) {
            add(&[&caps, "!"]);
        }
        add(&["decodebin"]);
    } else if let Some(rest) = input.strip_prefix("rtsp://") {
        // Over TCP, as ffmpeg is told.
        add(&["uridecodebin", &property("uri", &format!("rtspt://{rest}"))]);
    } else if is_url(input) {
        add(&["uridecodebin", &property("uri", input)]);
    } else {
        add(&["filesrc", &property("location", input), "!", "decodebin"]);
    }
    if kind == Kind::File {
        // Times are counted from frames, which must then be equally far apart.
        add(&["!", "videorate"]);
    }
    let size = camera.size.map(|size| format!(",width={},height={}", size.width, size.height));
    // From YUV to YUV, `videoconvert` leaves the range as it is, whatever it is asked for; by way of RGB it does not.
    add(&["!", "videoscale", "!", "videoconvert", "!"]);
    add(&[&format!("video/x-raw,format=BGRx{}", size.unwrap_or_default()), "!", "videoconvert", "!"]);
    add(&["video/x-raw,format=I420,colorimetry=bt601", "!", "y4menc", "!", "fdsink"]);
    if kind == Kind::File && live {
        add(&["sync=true"]);
    }
    words
}

/// A property as the words of a pipeline have it: in quotes, what would act among them is a plain character.
fn property(name: &str, value: &str) -> String {
    format!("{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

/// What a device is asked for: the size if it has that, and otherwise any, which is scaled.
fn device_caps(camera: &Camera) -> Option<String> {
    let kinds = match (camera.format, camera.size) {
        (Some(format), _) => vec![device_format(format)],
        (None, Some(_)) => vec!["video/x-raw", "image/jpeg", "video/x-h264"],
        (None, None) => return None,
    };
    let sized = camera.size.iter().flat_map(|size| {
        kinds.iter().map(|kind| format!("{kind},width={},height={}", size.width, size.height))
    });
    let any = kinds.iter().map(ToString::to_string);
    Some(sized.chain(any).collect::<Vec<_>>().join(";"))
}

fn device_format(format: Format) -> &'static str {
    match format {
        Format::Rgb24 => "video/x-raw,format=RGB",
        Format::Bgr24 => "video/x-raw,format=BGR",
        Format::Gray8 => "video/x-raw,format=GRAY8",
        Format::Yuyv => "video/x-raw,format=YUY2",
        Format::Uyvy => "video/x-raw,format=UYVY",
        Format::Nv12 => "video/x-raw,format=NV12",
        Format::Nv21 => "video/x-raw,format=NV21",
        Format::I420 => "video/x-raw,format=I420",
        Format::Mjpeg => "image/jpeg",
        Format::Rgba32 => "video/x-raw,format=RGBx",
        Format::Bgra32 => "video/x-raw,format=BGRx",
    }
}

/// Its first error, from which the others follow. What else it says, warnings among it, need be no fault of the stream: that there
/// is no decoder for its sound, say.
///
/// ```text
/// ERROR: from element /GstPipeline:pipeline0/…/GstRTSPSrc:source: Could not open resource for reading and writing.
/// Additional debug info:
/// ../gst/rtsp/gstrtspsrc.c(8336): gst_rtspsrc_retrieve_sdp (): /GstPipeline:pipeline0/…/GstRTSPSrc:source:
/// Failed to connect. (Generic error)
/// ```
/// Without the last line, the one before does not end in a colon.
#[derive(Default)]
pub(super) struct Complaint {
    told: Option<String>,
    /// The next line is the reason.
    reason: bool,
    whole: bool,
}

impl child::Complaint for Complaint {
    fn hear(&mut self, line: &str) {
        match &mut self.told {
            None => {
                if let Some(text) = line.strip_prefix("ERROR: from element ") {
                    self.told = Some(text.split_once(": ").map_or(text, |(_, text)| text).into());
                } else if let Some(text) = line.strip_prefix("WARNING: erroneous pipeline: ") {
                    // An element that is not installed.
                    self.told = Some(text.into());
                }
            }
            Some(told) if self.reason && !self.whole => {
                *told = if line.starts_with(&**told) { line.into() } else { format!("{told} {line}") };
                self.whole = true;
            }
            Some(_) => {
                self.reason = line.contains("/GstPipeline:") && line.ends_with(':');
                self.whole |= line.starts_with("ERROR: ");
            }
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

    fn told(said: &str) -> Option<String> {
        let mut complaint = Complaint::default();
        said.lines().for_each(|line| complaint.hear(line));
        complaint.told().map(String::from)
    }

    /// As gst-launch-1.0 1.22 says it.
    #[test]
    fn the_first_error_is_told_with_its_reason() {
        let place = "/GstPipeline:pipeline0/GstURIDecodeBin:uridecodebin0/GstRTSPSrc:source";
        let error = |text: &str| {
            format!("ERROR: from element {place}: {text}\nAdditional debug info:\n../a.c(1): b (): {place}")
        };
        let last = "ERROR: pipeline doesn't want to preroll.\n";
        let (connect, stream) =
            ("Could not open resource for reading and writing.", "Could not determine type of stream.");
        for (said, expected) in [
            (
                format!("{}:\nFailed to connect. (Generic error)\n{last}", error(connect)),
                format!("{connect} Failed to connect. (Generic error)"),
            ),
            (
                format!("{}\n{last}{}:\nmore\n", error(stream), error("Internal data stream error.")),
                stream.into(),
            ),
            (format!("{}:\nUnauthorized (401)\n{last}", error("Unauthorized")), "Unauthorized (401)".into()),
            ("WARNING: erroneous pipeline: no element \"y4menc\"\n".into(), "no element \"y4menc\"".into()),
        ] {
            assert_eq!(told(&said), Some(expected), "{said}");
        }
        assert_eq!(
            told(&format!("WARNING: from element {place}: No decoder available for type 'audio/x-ac3'.\n")),
            None
        );
        assert_eq!(told(""), None);
    }

    /// `a_device_is_read` of tests/run.py tries what it answers.
    #[test]
    fn a_device_is_asked_for_its_format_and_size() {
        let asked = |format, size: Option<&str>| {
            let mut camera = Camera::new("a", "/dev/video0");
            (camera.format, camera.size) = (format, size.map(|size| size.parse().unwrap()));
            let words = arguments(&camera, Kind::Camera, true).join(" ");
            let caps = words.strip_prefix("-q v4l2src device=\"/dev/video0\" ! ").unwrap();
            caps.split_once("decodebin ! videoscale").unwrap().0.trim_end_matches(" ! ").to_string()
        };
        assert_eq!(asked(None, None), "");
        assert_eq!(asked(Some(Format::Yuyv), None), "video/x-raw,format=YUY2");
        assert_eq!(asked(Some(Format::Mjpeg), Some("640x480")), "image/jpeg,width=640,height=480;image/jpeg");
        assert!(
            asked(None, Some("640x480")).starts_with("video/x-raw,width=640,height=480;image/jpeg,width")
        );
    }
}
