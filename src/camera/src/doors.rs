//! The doors that a configuration asks for.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use frcnn::Detector;

use crate::config::{Camera, Config};
use crate::event::{CameraInfo, Door, ZoneInfo};
use crate::run::Note;
use crate::status::Status;
use crate::stdout::Stdout;
use crate::tracking::classes;
use crate::{http, mqtt};

/// Opens all of them.
///
/// # Errors
/// One cannot be opened; the error names the table of the file and the key.
pub(crate) fn open(
    config: &Config,
    cameras: &[CameraInfo],
    status: &Arc<Status>,
    notes: &Sender<Note>,
) -> Result<Vec<Box<dyn Door>>, String> {
    let stdout = Stdout::open(notes.clone()).map_err(|error| format!("standard output: {error}"))?;
    let mut doors: Vec<Box<dyn Door>> = vec![Box::new(stdout)];
    if let Some(config) = &config.http {
        doors.push(http::serve(config, cameras, status.clone()).map_err(|error| error.to_string())?);
    }
    if let Some(config) = &config.mqtt {
        doors.push(mqtt::connect(config, cameras, status.clone()).map_err(|error| error.to_string())?);
    }
    Ok(doors)
}

/// What doors know of cameras.
pub(crate) fn infos(config: &Config, detector: &Detector) -> Vec<CameraInfo> {
    let classes = classes(detector).split_off(1);
    let info = |camera: &Camera| CameraInfo {
        name: camera.name.as_str().into(),
        classes: classes.clone(),
        zones: camera
            .zones
            .iter()
            .map(|zone| ZoneInfo { name: zone.name.as_str().into(), polygon: zone.polygon.0.clone() })
            .collect(),
    };
    config.cameras.iter().map(info).collect()
}
