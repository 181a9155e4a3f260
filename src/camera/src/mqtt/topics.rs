//! Topics: what is published where.

use std::fmt::Write as _;

/// A prefix of topics, and the topics below it.
#[derive(Clone, Debug)]
pub(super) struct Topics {
    prefix: String,
    /// What tells this daemon from others with the same prefix; none with the command line's one camera.
    daemon: Option<String>,
}

/// Whether topics can begin with `prefix`.
///
/// # Errors
/// What must not be in it.
pub(super) fn check_prefix(prefix: &str) -> Result<(), String> {
    if prefix.is_empty() || prefix.len() > 256 {
        return Err("the prefix of topics must have 1 to 256 bytes".to_owned());
    }
    if prefix.chars().any(|c| matches!(c, '+' | '#') || c.is_control()) || prefix.starts_with('$') {
        return Err(format!(
            "the prefix of topics must be without +, #, $ and control characters: `{prefix}`"
        ));
    }
    Ok(())
}

impl Topics {
    pub(super) fn new(prefix: &str, daemon: Option<&str>) -> Topics {
        Topics { prefix: prefix.to_owned(), daemon: daemon.map(level) }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// `online` or `offline`: the daemon.
    pub(super) fn availability(&self) -> String {
        match &self.daemon {
            None => format!("{}/availability", self.prefix),
            Some(daemon) => format!("{}/availability/{daemon}", self.prefix),
        }
    }

    /// Whether `topic` is the availability of another daemon with this prefix.
    pub(super) fn is_anothers_availability(&self, topic: &str) -> bool {
        let daemon = topic.strip_prefix(&self.prefix).and_then(|rest| rest.strip_prefix("/availability/"));
        daemon.is_some() && topic != self.availability()
    }

    /// A camera's topic `what`; the daemon's own for the camera without a name.
    pub(super) fn of_camera(&self, camera: &str, what: &str) -> String {
        match camera.is_empty() {
            true => format!("{}/{what}", self.prefix),
            false => format!("{}/{}/{what}", self.prefix, level(camera)),
        }
    }

    /// How many objects of `class` there are, in `zone` or in all.
    pub(super) fn count(&self, camera: &str, class: &str, zone: Option<&str>) -> String {
        let mut topic = self.of_camera(camera, "objects/") + &level(class);
        if let Some(zone) = zone {
            topic.push('/');
            topic += &level(zone);
        }
        topic
    }
}

/// `name` as one level of a topic: what MQTT gives a meaning, and `%`, as `%XX`.
fn level(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '/' | '+' | '#' | '%' | '$' => {
                // Writing into a string does not fail.
                let _ = write!(text, "%{:02X}", c as u32);
            }
            c if c.is_control() => {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    let _ = write!(text, "%{byte:02X}");
                }
            }
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn topics_are_as_documented() {
        let topics = Topics::new("house/yard", None);
        assert_eq!(topics.availability(), "house/yard/availability");
        assert_eq!(topics.of_camera("", "detections"), "house/yard/detections");
        assert_eq!(topics.of_camera("front", "events"), "house/yard/front/events");
        assert_eq!(topics.count("front", "person", None), "house/yard/front/objects/person");
        assert_eq!(topics.count("front", "person", Some("porch")), "house/yard/front/objects/person/porch");
        assert_eq!(topics.count("a/b", "c+#", Some("50%\u{7}")), "house/yard/a%2Fb/objects/c%2B%23/50%25%07");
    }

    #[test]
    fn daemons_have_their_own_availability() {
        let topics = Topics::new("house", Some("barn/1"));
        assert_eq!(topics.availability(), "house/availability/barn%2F1");
        assert_eq!(topics.of_camera("front", "events"), "house/front/events");
        assert!(topics.is_anothers_availability("house/availability/shed"));
        // Its own, and that of versions which knew no others.
        for own in ["house/availability/barn%2F1", "house/availability", "houses/availability/shed"] {
            assert!(!topics.is_anothers_availability(own), "{own}");
        }
    }

    #[test]
    fn prefixes_are_checked() {
        assert!(check_prefix("a/b c").is_ok());
        for wrong in ["", "a/#", "+", "$SYS", "a\0"] {
            check_prefix(wrong).unwrap_err();
        }
    }
}
