//! Home Assistant's discovery: a retained message for each entity says what it is and which topics it reads.
//!
//! <https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery>. All entities below a prefix stand under one node, so
//! that those which an earlier configuration left behind can be found; their availability says which daemon's they are.

use serde_json::{Value, json};

use super::counts::places;
use super::topics::Topics;
use crate::event::CameraInfo;
use crate::names::slug;
use crate::status::State;

/// Where Home Assistant says that it has started.
pub(super) const STATUS: &str = "homeassistant/status";

/// Every entity below the prefix, as a filter of topics.
pub(super) fn filter(topics: &Topics) -> String {
    format!("homeassistant/+/{}/+/config", node(topics))
}

/// Whether `topic` passes [`filter`].
pub(super) fn is_ours(topics: &Topics, topic: &str) -> bool {
    let parts: Vec<&str> = topic.split('/').collect();
    matches!(parts[..], ["homeassistant", _, node_id, _, "config"] if node_id == node(topics))
}

fn node(topics: &Topics) -> String {
    format!("frcnn-{}", slug(topics.prefix()))
}

/// The entities of a camera: topics, and what to publish there.
pub(super) fn entities(topics: &Topics, camera: &CameraInfo, labelled: bool) -> Vec<(String, Value)> {
    let name = if labelled { &*camera.name } else { "" };
    let maker = Maker { topics, name, node: node(topics) };
    let mut entities = Vec::new();
    for (class, zone) in places(camera) {
        let (title, id) = match &zone {
            Some(zone) => (format!("{class} in {zone}"), format!("{}-{}", slug(&class), slug(zone))),
            None => (class.to_string(), slug(&class)),
        };
        let topic = topics.count(name, &class, zone.as_deref());
        let occupancy = json!({
            "name": format!("{title} present"),
            "state_topic": topic,
            "value_template": "{{ 'ON' if value | int(0) > 0 else 'OFF' }}",
            "payload_on": "ON",
            "payload_off": "OFF",
            "device_class": "occupancy",
        });
        entities.push(maker.entity("binary_sensor", &format!("occupancy-{id}"), occupancy, true));
        let count = json!({
            "name": format!("{title} count"),
            "state_topic": topic,
            "state_class": "measurement",
            "unit_of_measurement": "objects",
            "icon": "mdi:counter",
        });
        entities.push(maker.entity("sensor", &format!("count-{id}"), count, true));
    }
    let image = json!({
        "name": "last object",
        "image_topic": topics.of_camera(name, "snapshot"),
        "content_type": "image/jpeg",
    });
    entities.push(maker.entity("image", "snapshot", image, false));
    let state = json!({
        "name": "state",
        "state_topic": topics.of_camera(name, "state"),
        "device_class": "enum",
        "options": State::ALL.map(State::name),
        "entity_category": "diagnostic",
        "icon": "mdi:cctv",
    });
    entities.push(maker.entity("sensor", "state", state, false));
    entities
}

struct Maker<'a> {
    topics: &'a Topics,
    /// Of the camera; empty for the one without a name.
    name: &'a str,
    node: String,
}

impl Maker<'_> {
    /// `camera_too`: the entity says nothing while the camera does not run.
    fn entity(&self, component: &str, id: &str, mut what: Value, camera_too: bool) -> (String, Value) {
        let object = match self.name.is_empty() {
            true => id.to_owned(),
            false => format!("{}-{id}", slug(self.name)),
        };
        let device = match self.name.is_empty() {
            true => self.node.clone(),
            false => format!("{}-{}", self.node, slug(self.name)),
        };
        let title = if self.name.is_empty() { self.topics.prefix() } else { self.name };
        let mut availability = vec![json!({ "topic": self.topics.availability() })];
        if camera_too {
            availability.push(json!({
                "topic": self.topics.of_camera(self.name, "state"),
                "value_template": "{{ 'online' if value == 'running' else 'offline' }}",
            }));
        }
        let version = env!("CARGO_PKG_VERSION");
        let more = json!({
            "unique_id": format!("{}-{object}", self.node),
            "availability": availability,
            "availability_mode": "all",
            "device": {
                "identifiers": [device],
                "name": title,
                "manufacturer": "frcnn",
                "model": "frcnn-camera",
                "sw_version": version,
            },
            "origin": { "name": "frcnn-camera", "sw_version": version },
        });
        if let (Value::Object(what), Value::Object(more)) = (&mut what, more) {
            what.extend(more);
        }
        (format!("homeassistant/{component}/{}/{object}/config", self.node), what)
    }
}

/// Whether an entity is of another daemon with the same prefix.
pub(super) fn is_anothers(topics: &Topics, config: &[u8]) -> bool {
    let config = serde_json::from_slice::<Value>(config).unwrap_or_default();
    let topic = config["availability"][0]["topic"].as_str();
    topic.is_some_and(|topic| topics.is_anothers_availability(topic))
}

/// Topics below the prefix that an entity reads: its states, which go when it goes.
pub(super) fn states_of(topics: &Topics, config: &[u8]) -> Vec<String> {
    let Ok(config) = serde_json::from_slice::<Value>(config) else { return Vec::new() };
    let below = format!("{}/", topics.prefix());
    let named = ["state_topic", "image_topic"].into_iter().filter_map(|key| config[key].as_str());
    named
        .filter(|topic| topic.starts_with(&below) && !topic.contains(['+', '#']))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::testing::camera;

    #[test]
    fn entities_are_distinct_and_ours() {
        let topics = Topics::new("house/yard", Some("barn"));
        let classes = ["person", "a/b", "a+b", "<script>"];
        let entities: Vec<_> = ["front", "back"]
            .iter()
            .flat_map(|name| entities(&topics, &camera(name, &classes, &["porch", "gate"]), true))
            .collect();
        // Four classes in two zones and in all, twice; and two more.
        assert_eq!(entities.len(), 2 * (4 * 3 * 2 + 2));
        let names: BTreeSet<&str> = entities.iter().map(|(topic, _)| topic.as_str()).collect();
        let ids: BTreeSet<&str> =
            entities.iter().map(|(_, what)| what["unique_id"].as_str().unwrap()).collect();
        assert_eq!((names.len(), ids.len()), (entities.len(), entities.len()));
        for (topic, what) in &entities {
            assert!(is_ours(&topics, topic), "{topic}");
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_/".contains(c);
            assert!(topic.chars().all(plain) && topic.split('/').count() == 5, "{topic}");
            for state in states_of(&topics, what.to_string().as_bytes()) {
                assert!(
                    state.starts_with("house/yard/front/") || state.starts_with("house/yard/back/"),
                    "{state}"
                );
            }
        }
        assert!(!is_ours(&Topics::new("other", None), &entities[0].0));
    }

    #[test]
    fn one_entity_in_full() {
        let topics = Topics::new("frcnn-camera", Some("barn"));
        let entities = entities(&topics, &camera("front", &["person"], &["porch"]), true);
        let (_, what) = entities.iter().find(|(topic, _)| topic.contains("occupancy-person-porch")).unwrap();
        assert_eq!(what["state_topic"], "frcnn-camera/front/objects/person/porch");
        assert_eq!(what["device"]["identifiers"][0], "frcnn-frcnn-camera-front");
        assert_eq!(what["availability"][0]["topic"], "frcnn-camera/availability/barn");
        assert_eq!(what["availability"][1]["topic"], "frcnn-camera/front/state");
        let text = what.to_string();
        assert!(!is_anothers(&topics, text.as_bytes()));
        assert!(is_anothers(&Topics::new("frcnn-camera", Some("shed")), text.as_bytes()));
        assert!(!is_anothers(&topics, b"no JSON"));
        assert_eq!(
            states_of(&topics, what.to_string().as_bytes()),
            ["frcnn-camera/front/objects/person/porch"]
        );
    }

    #[test]
    fn a_camera_without_a_name_has_the_old_topics() {
        let entities = entities(&Topics::new("yard", None), &camera("camera", &["person"], &[]), false);
        assert!(
            entities.iter().any(|(topic, _)| topic == "homeassistant/sensor/frcnn-yard/count-person/config")
        );
        assert!(entities.iter().any(|(_, what)| what["state_topic"] == "yard/objects/person"));
    }

    #[test]
    fn strangers_states_stay() {
        let topics = Topics::new("yard", None);
        assert!(states_of(&topics, br#"{"state_topic": "street/x"}"#).is_empty());
        assert!(states_of(&topics, br#"{"state_topic": "yard/#"}"#).is_empty());
        assert!(states_of(&topics, b"no JSON").is_empty());
    }
}
