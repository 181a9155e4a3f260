//! How many objects of each class there are, in each zone and in all.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::{CameraInfo, FrameResult};

/// A class, in a zone or (none) in all.
type Place = (Arc<str>, Option<Arc<str>>);

/// The counts of one camera that were told last.
#[derive(Debug)]
pub(super) struct Counts {
    told: BTreeMap<Place, usize>,
}

/// Places that a camera has counts of: its classes, each in all and in each zone.
pub(super) fn places(camera: &CameraInfo) -> impl Iterator<Item = Place> {
    camera.classes.iter().flat_map(|class| {
        let zones = camera.zones.iter().map(|zone| Some(zone.name.clone()));
        [None].into_iter().chain(zones).map(|zone| (class.clone(), zone))
    })
}

impl Counts {
    /// Nothing is in view.
    pub(super) fn new(camera: &CameraInfo) -> Counts {
        Counts { told: places(camera).map(|place| (place, 0)).collect() }
    }

    /// What is told last, of all places.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Place, usize)> {
        self.told.iter().map(|(place, count)| (place, *count))
    }

    /// What differs from what was told last, and is told now.
    pub(super) fn update(&mut self, frame: &FrameResult) -> Vec<(Place, usize)> {
        let mut now: BTreeMap<Place, usize> = BTreeMap::new();
        for object in &frame.objects {
            *now.entry((object.class.clone(), None)).or_default() += 1;
            for zone in &object.zones {
                *now.entry((object.class.clone(), Some(zone.clone()))).or_default() += 1;
            }
        }
        let mut changed = Vec::new();
        for (place, told) in &mut self.told {
            let count = now.get(place).copied().unwrap_or(0);
            if count != *told {
                *told = count;
                changed.push((place.clone(), count));
            }
        }
        changed
    }

    /// The camera has other zones or classes: what is known of places that stay stays.
    pub(super) fn change(&mut self, camera: &CameraInfo) {
        let known = std::mem::take(&mut self.told);
        let known = |place: &Place| known.get(place).copied().unwrap_or(0);
        self.told = places(camera).map(|place| (place.clone(), known(&place))).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{camera, frame, object};

    #[test]
    fn changes_are_told_once() {
        let info = camera("yard", &["person", "car"], &["porch"]);
        let mut counts = Counts::new(&info);
        assert_eq!(counts.all().count(), 4);
        let seen = frame("yard", 1, vec![object(1, "person", &["porch"]), object(2, "person", &[])]);
        let told = counts.update(&seen);
        let name = |place: &Place| format!("{}/{}", place.0, place.1.as_deref().unwrap_or("*"));
        let told: Vec<_> = told.iter().map(|(place, count)| (name(place), *count)).collect();
        assert_eq!(told, [("person/*".to_owned(), 2), ("person/porch".to_owned(), 1)]);
        assert!(counts.update(&seen).is_empty());
        assert_eq!(counts.update(&frame("yard", 2, vec![object(2, "person", &[])])).len(), 2);
        counts.change(&camera("yard", &["person"], &["gate"]));
        let all: Vec<_> = counts.all().map(|(place, count)| (name(place), count)).collect();
        assert_eq!(all, [("person/*".to_owned(), 1), ("person/gate".to_owned(), 0)]);
    }
}
