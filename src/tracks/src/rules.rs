//! What is worth following, and where: zones, masks, thresholds and sizes.

use std::collections::BTreeMap;
use std::time::Duration;

use frcnn_core::BBox;

use crate::observation::Observation;
use crate::polygon::Polygon;

/// A tracker has at most this many zones.
pub const MAX_ZONES: usize = 64;

/// A tracker has at most this many masks.
pub const MAX_MASKS: usize = 64;

/// What is worth following, and where.
///
/// An object is where its foot is: the **centre of the lower edge of its box**, which is where a person or a car touches
/// the ground.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// Areas with a meaning to the caller, at most [`MAX_ZONES`]; an object tells in which it is.
    pub zones: Vec<Zone>,
    /// Areas in which nothing is seen, at most [`MAX_MASKS`].
    pub masks: Vec<Polygon>,
    /// By number of the class.
    pub classes: BTreeMap<u32, ClassRule>,
    /// For classes without a rule of their own.
    pub other_classes: ClassRule,
}

/// An area with a meaning to the caller.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    /// Where it is.
    pub polygon: Polygon,
    /// The classes that count in it; empty for all.
    pub classes: Vec<u32>,
}

/// What holds for a class.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClassRule {
    /// The least score of an observation that begins an object; `None` for the tracker's `high_score`.
    pub threshold: Option<f32>,
    /// An observation narrower than this, in pixels, is passed over.
    pub min_width: f32,
    /// One less high than this is, too.
    pub min_height: f32,
    /// After an object of the class has started, others that start within this time are *quiet*: they are tracked, and give
    /// no events.
    pub cool_down: Duration,
}

/// A set of zones, by their positions in [`Rules::zones`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Zones(u64);

impl Zones {
    /// As a mask: bit `i` for zone `i`.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Whether a zone is among them.
    #[must_use]
    pub fn contains(self, zone: usize) -> bool {
        zone < MAX_ZONES && self.0 >> zone & 1 == 1
    }

    /// Their positions, in order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..MAX_ZONES).filter(move |&zone| self.contains(zone))
    }
}

/// Why an observation is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PassedOver {
    Masked,
    Small,
}

/// The centre of a box's lower edge.
pub(crate) fn foot(bbox: &BBox) -> [f32; 2] {
    [(bbox.x1 + bbox.x2) / 2.0, bbox.y2]
}

impl Rules {
    /// What holds for a class.
    #[must_use]
    pub fn of(&self, class: u32) -> &ClassRule {
        self.classes.get(&class).unwrap_or(&self.other_classes)
    }

    /// The zones in which an object is.
    #[must_use]
    pub fn zones_at(&self, class: u32, bbox: &BBox) -> Zones {
        let foot = foot(bbox);
        let counts = |zone: &Zone| zone.classes.is_empty() || zone.classes.contains(&class);
        let zones = self.zones.iter().take(MAX_ZONES).enumerate();
        let inside = zones.filter(|(_, zone)| counts(zone) && zone.polygon.contains(foot));
        Zones(inside.fold(0, |bits, (i, _)| bits | 1 << i))
    }

    pub(crate) fn pass(&self, observation: &Observation) -> Result<(), PassedOver> {
        let rule = self.of(observation.class);
        let bbox = &observation.bbox;
        if bbox.width(1.0) < rule.min_width || bbox.height(1.0) < rule.min_height {
            return Err(PassedOver::Small);
        }
        let foot = foot(bbox);
        match self.masks.iter().any(|mask| mask.contains(foot)) {
            true => Err(PassedOver::Masked),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rectangle(x1: f32, y1: f32, x2: f32, y2: f32) -> Polygon {
        Polygon::new(vec![[x1, y1], [x2, y1], [x2, y2], [x1, y2]]).unwrap()
    }

    /// The foot counts, not the centre.
    #[test]
    fn an_object_is_where_its_foot_is() {
        let street = Zone { polygon: rectangle(0.0, 100.0, 200.0, 200.0), classes: vec![] };
        let cars_only = Zone { classes: vec![7], ..street.clone() };
        let rules = Rules {
            zones: vec![street, cars_only],
            masks: vec![rectangle(0.0, 150.0, 50.0, 200.0)],
            ..Rules::default()
        };
        let person = BBox::new(60.0, 20.0, 80.0, 110.0);
        assert_eq!(rules.zones_at(15, &person).iter().collect::<Vec<_>>(), [0]);
        assert_eq!(rules.zones_at(7, &person).bits(), 0b11);
        assert!(rules.zones_at(7, &BBox::new(60.0, 20.0, 80.0, 90.0)).iter().next().is_none());
        let at = |bbox| rules.pass(&Observation { class: 15, score: 0.9, bbox });
        assert_eq!(at(person), Ok(()));
        assert_eq!(at(BBox::new(10.0, 20.0, 30.0, 160.0)), Err(PassedOver::Masked));
    }

    #[test]
    fn small_ones_are_passed_over() {
        let person = ClassRule { min_width: 10.0, min_height: 20.0, ..ClassRule::default() };
        let rules = Rules { classes: BTreeMap::from([(15, person)]), ..Rules::default() };
        let of = |class, width: f32, height: f32| {
            let bbox = BBox::new(5.0, 5.0, 4.0 + width, 4.0 + height);
            rules.pass(&Observation { class, score: 0.9, bbox })
        };
        assert_eq!(of(15, 10.0, 20.0), Ok(()));
        assert_eq!(of(15, 9.0, 30.0), Err(PassedOver::Small));
        assert_eq!(of(15, 30.0, 19.0), Err(PassedOver::Small));
        assert_eq!(of(7, 1.0, 1.0), Ok(()));
    }
}
