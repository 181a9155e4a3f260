//! No input makes a tracker panic, nor its memory grow, nor a number in it that is none.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::HashSet;
use std::time::Duration;

use frcnn_core::BBox;
use frcnn_tracks::{Change, ClassRule, Looked, Observation, Options, Polygon, Rules, Tracker, Zone};
use proptest::prelude::*;

fn number() -> impl Strategy<Value = f32> {
    prop_oneof![
        6 => (0u16..400).prop_map(f32::from),
        1 => -1e6f32..1e6,
        1 => any::<f32>(),
        1 => prop::sample::select(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 1e6, -1e6, 0.0]),
    ]
}

fn observation() -> impl Strategy<Value = Observation> {
    let score = prop_oneof![4 => 0.0f32..1.0, 1 => number()];
    let bbox = (number(), number(), number(), number(), any::<bool>()).prop_map(|(x1, y1, a, b, sizes)| {
        if sizes { BBox::new(x1, y1, x1 + a, y1 + b) } else { BBox::new(x1, y1, a, b) }
    });
    let class = prop_oneof![4 => 0u32..4, 1 => any::<u32>()];
    (class, score, bbox).prop_map(|(class, score, bbox)| Observation { class, score, bbox })
}

fn step() -> impl Strategy<Value = (Duration, Vec<Observation>, Option<Vec<BBox>>)> {
    let time = prop_oneof![
        8 => (0u64..20_000).prop_map(Duration::from_millis),
        1 => any::<u64>().prop_map(Duration::from_nanos),
        1 => Just(Duration::MAX),
    ];
    let places = prop::collection::vec(observation().prop_map(|o| o.bbox), 0..4);
    (time, prop::collection::vec(observation(), 0..12), prop::option::of(places))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn nothing_panics_and_events_make_sense(steps in prop::collection::vec(step(), 1..30), most in 1usize..12, corner in number()) {
        let square = |side: f32| Polygon::new(vec![[0.0, 0.0], [side, 0.0], [side, side], [0.0, side]]);
        let cool = ClassRule { cool_down: Duration::from_secs(1), ..ClassRule::default() };
        let rules = Rules {
            zones: vec![Zone { polygon: square(200.0).unwrap(), classes: vec![1] }],
            masks: square(corner).into_iter().collect(),
            classes: [(2, cool)].into(),
            other_classes: ClassRule::default(),
        };
        let options = Options { max_objects: most, max_path: 4, rules, ..Options::default() };
        let mut tracker = Tracker::new(options).unwrap();
        let mut alive = HashSet::new();
        let mut ended = HashSet::new();
        for (time, observations, places) in &steps {
            let looked = places.as_deref().map_or(Looked::Everywhere, Looked::At);
            for event in tracker.update(*time, observations, looked) {
                let id = event.object.id;
                match event.change {
                    Change::Started => prop_assert!(alive.insert(id) && !ended.contains(&id)),
                    Change::Moved | Change::Stopped => prop_assert!(alive.contains(&id)),
                    Change::Ended => prop_assert!(alive.remove(&id) && ended.insert(id)),
                }
                prop_assert!(event.path.len() <= 5 && !event.path.is_empty());
                prop_assert!(event.path.iter().all(|p| p.x.is_finite() && p.y.is_finite()));
            }
            prop_assert!(tracker.objects().count() <= most);
            for object in tracker.objects() {
                prop_assert!(object.bbox.is_valid(), "{object:?}");
                prop_assert!(object.best_box.is_valid() && object.best_score.is_finite() && object.score.is_finite());
            }
            let later = time.saturating_add(Duration::from_millis(40));
            prop_assert!(tracker.look_again(later).iter().all(BBox::is_valid));
        }
        let loud: HashSet<u64> = tracker.objects().filter(|o| !o.quiet).map(|o| o.id).collect();
        prop_assert_eq!(&loud, &alive);
        let rest: HashSet<u64> = tracker.finish().into_iter().map(|event| event.object.id).collect();
        prop_assert_eq!(rest, alive);
        prop_assert_eq!(tracker.objects().count(), 0);
    }
}

#[test]
fn what_is_no_observation_is_counted() {
    let mut tracker = Tracker::new(Options::default()).unwrap();
    let good = Observation { class: 1, score: 0.9, bbox: BBox::new(10.0, 10.0, 30.0, 30.0) };
    let bad = [
        Observation { score: f32::NAN, ..good },
        Observation { score: f32::INFINITY, ..good },
        Observation { bbox: BBox::new(f32::NAN, 10.0, 30.0, 30.0), ..good },
        Observation { bbox: BBox::new(30.0, 10.0, 10.0, 30.0), ..good },
        Observation { bbox: BBox::new(0.0, 0.0, 3e6, 30.0), ..good },
        good,
    ];
    for frame in 0..10 {
        tracker.update(Duration::from_millis(100 * frame), &bad, Looked::Everywhere);
    }
    assert_eq!(tracker.counts().refused, 50);
    assert_eq!(tracker.objects().count(), 1);
}

#[test]
fn options_out_of_range_are_refused_by_name() {
    let refused = |options: Options| Tracker::new(options).unwrap_err().to_string();
    let with = Options::default;
    assert_eq!(refused(Options { high_score: f32::NAN, ..with() }), "high_score is not a finite number");
    assert_eq!(refused(Options { max_objects: 0, ..with() }), "max_objects is 0, and must be 1 to 4096");
    assert_eq!(refused(Options { max_path: 1, ..with() }), "max_path is 1, and must be 2 to 65536");
    let small = ClassRule { min_width: -1.0, ..ClassRule::default() };
    let rules = Rules { classes: [(3, small)].into(), ..Rules::default() };
    assert!(refused(Options { rules, ..with() }).contains("smallest width"));
    let mask = Polygon::new(vec![[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]).unwrap();
    let rules = Rules { masks: vec![mask; 65], ..Rules::default() };
    assert_eq!(refused(Options { rules, ..with() }), "the number of masks is 65, and must be 0 to 64");
}
