//! Cameras and frames for unit tests.

use std::sync::Arc;
use std::time::SystemTime;

use crate::event::{CameraInfo, FrameResult, ObjectState, ZoneInfo};

pub(crate) fn camera(name: &str, classes: &[&str], zones: &[&str]) -> CameraInfo {
    let polygon = vec![[0.1, 0.2], [0.9, 0.2], [0.5, 0.8]];
    let zone = |name: &&str| ZoneInfo { name: Arc::from(*name), polygon: polygon.clone() };
    CameraInfo {
        name: name.into(),
        classes: classes.iter().map(|class| Arc::from(*class)).collect(),
        zones: zones.iter().map(zone).collect(),
    }
}

pub(crate) fn object(id: u64, class: &str, zones: &[&str]) -> ObjectState {
    ObjectState {
        id,
        class: class.into(),
        score: 0.9,
        bbox: [10.0, 20.0, 30.0, 60.0],
        stationary: false,
        zones: zones.iter().map(|zone| Arc::from(*zone)).collect(),
        first_seen: SystemTime::now(),
    }
}

pub(crate) fn frame(camera: &str, number: u64, objects: Vec<ObjectState>) -> FrameResult {
    FrameResult {
        camera: camera.into(),
        captured: SystemTime::now(),
        number,
        width: 64,
        height: 48,
        proposals: 1,
        ms: 1.0,
        detections: Vec::new(),
        objects,
        picture: None,
        line: true,
    }
}
