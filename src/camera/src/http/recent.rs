//! What happened last: objects with their pictures, and events.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use crate::event::{CameraEvent, ObjectChange, ObjectEvent, seconds};

/// Objects that are kept, of all cameras together; and so many events.
const OBJECTS: usize = 48;
const EVENTS: usize = 40;

/// The latest first.
#[derive(Default)]
pub(super) struct Recent {
    objects: VecDeque<Object>,
    events: VecDeque<Arc<CameraEvent>>,
}

struct Object {
    event: Arc<ObjectEvent>,
    picture: Option<Bytes>,
}

/// As the page reads it.
#[derive(Serialize)]
pub(super) struct ObjectView {
    camera: Arc<str>,
    id: u64,
    class: Arc<str>,
    score: f32,
    zones: Vec<Arc<str>>,
    first_seen: f64,
    time: f64,
    change: &'static str,
    ended: bool,
    picture: bool,
}

/// As the page reads it.
#[derive(Serialize)]
pub(super) struct EventView {
    camera: Option<Arc<str>>,
    time: f64,
    event: &'static str,
    detail: String,
}

impl Recent {
    /// An object has done something: what was known of it is replaced, at its place.
    pub(super) fn object(&mut self, event: &Arc<ObjectEvent>) {
        let picture = event.snapshot.as_ref().map(|snapshot| Bytes::copy_from_slice(&snapshot.jpeg));
        let same = |object: &&mut Object| object.event.id == event.id && object.event.camera == event.camera;
        if let Some(object) = self.objects.iter_mut().find(same) {
            object.event = event.clone();
            if picture.is_some() {
                object.picture = picture;
            }
            return;
        }
        self.objects.push_front(Object { event: event.clone(), picture });
        self.objects.truncate(OBJECTS);
    }

    pub(super) fn event(&mut self, event: &Arc<CameraEvent>) {
        self.events.push_front(event.clone());
        self.events.truncate(EVENTS);
    }

    pub(super) fn picture(&self, camera: &str, id: u64) -> Option<Bytes> {
        let object =
            self.objects.iter().find(|object| object.event.id == id && &*object.event.camera == camera)?;
        object.picture.clone()
    }

    pub(super) fn objects(&self) -> Vec<ObjectView> {
        let view = |object: &Object| ObjectView {
            camera: object.event.camera.clone(),
            id: object.event.id,
            class: object.event.class.clone(),
            score: object.event.best_score,
            zones: object.event.zones.clone(),
            first_seen: seconds(object.event.first_seen),
            time: seconds(object.event.captured),
            change: object.event.change.name(),
            ended: object.event.change == ObjectChange::Ended,
            picture: object.picture.is_some(),
        };
        self.objects.iter().map(view).collect()
    }

    pub(super) fn events(&self) -> Vec<EventView> {
        let view = |event: &Arc<CameraEvent>| EventView {
            camera: event.camera.clone(),
            time: seconds(event.time),
            event: event.event,
            detail: event.detail.clone(),
        };
        self.events.iter().map(view).collect()
    }
}
