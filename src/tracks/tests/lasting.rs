//! Objects that stand still, come and go, and the events that tell of it.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use frcnn_core::BBox;
use frcnn_tracks::{Change, ClassRule, Event, Looked, Observation, Options, Rules, Tracker};

const DISC: u32 = 3;

fn at(x: f32, y: f32) -> Observation {
    Observation { class: DISC, score: 0.9, bbox: BBox::new(x - 20.0, y - 20.0, x + 20.0, y + 20.0) }
}

fn ms(frame: u64, fps: u64) -> Duration {
    Duration::from_nanos(frame * 1_000_000_000 / fps)
}

fn changes(events: &[Event]) -> Vec<Change> {
    events.iter().map(|event| event.change).collect()
}

/// One disc that drives in, stands for five minutes in which no motion model proposes it, and drives off: four events.
#[test]
fn an_object_that_stands_for_minutes_is_one_object() {
    for fps in [2, 5, 25] {
        let mut tracker = Tracker::new(Options::default()).unwrap();
        let mut events = Vec::new();
        let mut looks = 0;
        for frame in 0..340 * fps {
            let t = frame as f32 / fps as f32;
            let x = 50.0 + 30.0 * (t.min(10.0) + (t - 310.0).max(0.0));
            // The motion model sees what moves, and what has come to rest for 9 seconds more.
            let moves = t < 19.0 || (310.0..330.0).contains(&t);
            let mut proposals = tracker.look_again(ms(frame, fps));
            looks += proposals.len();
            if moves {
                proposals.push(at(x, 100.0).bbox);
            }
            // It is gone after 330 s.
            let truth = at(x, 100.0);
            let found = t < 330.0 && proposals.iter().any(|b| b.iou(&truth.bbox, 1.0) > 0.5);
            let found = if found { vec![truth] } else { vec![] };
            events.extend(tracker.update(ms(frame, fps), &found, Looked::At(&proposals)));
        }
        assert_eq!(
            changes(&events),
            [Change::Started, Change::Stopped, Change::Moved, Change::Ended],
            "{fps}"
        );
        assert!(events.iter().all(|event| event.object.id == 1 && event.object.class == DISC));
        let [started, stopped, moved, ended] = &events[..] else { unreachable!() };
        assert!(started.time <= Duration::from_secs_f64(0.2 + 3.0 / fps as f64));
        assert!(
            stopped.time > Duration::from_secs(12) && stopped.time < Duration::from_secs(15),
            "{stopped:?}"
        );
        assert!(moved.time > Duration::from_secs(310) && moved.time < Duration::from_secs(312), "{moved:?}");
        assert!(ended.object.last_seen > Duration::from_secs(329), "{ended:?}");
        assert_eq!(ended.object.first_seen, Duration::ZERO);
        assert!((ended.path[0].x - 50.0).abs() < 5.0 && (ended.path.last().unwrap().x - 950.0).abs() < 20.0);
        // Looked at every half a second, or with the frame after it, while it stood, and not at all while it was seen anyway.
        assert!((450..=650).contains(&looks), "{looks} at {fps}");
    }
}

/// However fast it drives off after minutes, and however seldom frames come: up to its own size from frame to frame at twice its size
/// a second, and up to half of that at four times.
#[test]
fn who_leaves_after_minutes_is_who_came() {
    for fps in [2, 4, 10, 25] {
        for sizes_a_second in [0.5, 1.0, 2.0, 4.0] {
            if sizes_a_second == 4.0 && fps < 10 {
                continue;
            }
            for offset in 0..4 {
                let mut tracker = Tracker::new(Options::default()).unwrap();
                let mut events = Vec::new();
                // Between two looks, wherever these are.
                let starts = 60.0 + offset as f32 * 0.13;
                for frame in 0..75 * fps {
                    let t = frame as f32 / fps as f32;
                    let x = 100.0 + 41.0 * sizes_a_second * (t - starts).max(0.0);
                    let mut proposals = tracker.look_again(ms(frame, fps));
                    if t < 9.0 || t > starts {
                        proposals.push(at(x, 100.0).bbox);
                    }
                    let truth = at(x, 100.0);
                    let found = t < 66.0 && proposals.iter().any(|b| b.iou(&truth.bbox, 1.0) > 0.5);
                    let found = if found { vec![truth] } else { vec![] };
                    events.extend(tracker.update(ms(frame, fps), &found, Looked::At(&proposals)));
                }
                let told: Vec<_> = events.iter().map(|event| (event.change, event.object.id)).collect();
                let due = [Change::Started, Change::Stopped, Change::Moved, Change::Ended]
                    .map(|change| (change, 1));
                assert_eq!(told, due, "{sizes_a_second} sizes a second at {fps}, {offset}");
            }
        }
    }
}

/// What starts and the ground that it uncovers are one moving region at first, whose boxes do not fit.
#[test]
fn who_leaves_unseen_by_the_motion_model_is_who_came() {
    for (across, down) in [(0.6, 0.0), (-1.0, 0.0), (0.5, 0.5), (0.0, -0.8)] {
        let mut tracker = Tracker::new(Options::default()).unwrap();
        let mut told = Vec::new();
        for frame in 0..300 {
            let t = frame as f32 / 10.0;
            let gone = 41.0 * (t - 20.0).max(0.0);
            let truth = at(500.0 + across * gone, 500.0 + down * gone);
            let mut proposals = tracker.look_again(ms(frame, 10));
            proposals.extend(tracker.look_around(ms(frame, 10)));
            assert!(t >= 20.0 || proposals.len() <= 1, "{proposals:?}");
            if t < 9.0 || (21.5..25.0).contains(&t) {
                proposals.push(truth.bbox);
            }
            // A detector of tight boxes.
            let found = t < 25.0 && proposals.iter().any(|b| b.iou(&truth.bbox, 1.0) > 0.6);
            let found = if found { vec![truth] } else { vec![] };
            let events = tracker.update(ms(frame, 10), &found, Looked::At(&proposals));
            told.extend(events.iter().map(|event| (event.change, event.object.id)));
        }
        let due = [Change::Started, Change::Stopped, Change::Moved, Change::Ended].map(|change| (change, 1));
        assert_eq!(told, due, "{across} {down}");
    }
}

/// What stood still was not seen in most frames, as it is looked at seldom. That is no debt when it moves: like any other it may be
/// missed for almost two seconds.
#[test]
fn who_leaves_after_minutes_may_be_missed_as_any_other() {
    for fps in [5, 10, 25] {
        let mut tracker = Tracker::new(Options::default()).unwrap();
        let mut told = Vec::new();
        for frame in 0..130 * fps {
            let t = frame as f32 / fps as f32;
            let truth = at(100.0 + 20.0 * (t - 120.0).max(0.0), 100.0);
            let proposals = tracker.look_again(ms(frame, fps));
            let looked = !(9.0..120.0).contains(&t) || !proposals.is_empty();
            // It moves off, and is hidden for a while.
            let found = if looked && !(121.5..123.3).contains(&t) { vec![truth] } else { vec![] };
            let events = tracker.update(ms(frame, fps), &found, Looked::At(&proposals));
            told.extend(events.iter().map(|event| (event.change, event.object.id)));
        }
        let due = [Change::Started, Change::Stopped, Change::Moved].map(|change| (change, 1));
        assert_eq!(told, due, "{fps}");
    }
}

/// What was carried off while nothing moved there is ended after a stated time, and not before.
#[test]
fn an_object_that_is_gone_from_its_place_has_ended() {
    let mut tracker = Tracker::new(Options::default()).unwrap();
    let mut events = Vec::new();
    for frame in 0..300 {
        let proposals =
            if frame < 60 { vec![at(80.0, 80.0).bbox] } else { tracker.look_again(ms(frame, 10)) };
        let found = if frame < 200 && !proposals.is_empty() { vec![at(80.0, 80.0)] } else { vec![] };
        events.extend(tracker.update(ms(frame, 10), &found, Looked::At(&proposals)));
    }
    assert_eq!(changes(&events), [Change::Started, Change::Stopped, Change::Ended]);
    let ended = events[2].time.as_secs_f64();
    assert!((25.0..26.1).contains(&ended), "{ended}");
}

/// Where nobody looks, nobody can say that something is gone.
#[test]
fn what_nobody_looks_at_stays() {
    let mut tracker = Tracker::new(Options::default()).unwrap();
    for frame in 0..600 {
        let found = if frame < 60 { vec![at(80.0, 80.0)] } else { vec![] };
        let looked = if frame < 60 { Looked::Everywhere } else { Looked::At(&[]) };
        tracker.update(ms(frame, 10), &found, looked);
    }
    let object = tracker.objects().next().unwrap();
    assert!(object.stationary && !object.seen);
    assert_eq!(object.last_seen, ms(59, 10));
}

#[test]
fn a_short_flash_is_no_object_and_a_low_score_begins_none() {
    let mut tracker = Tracker::new(Options::default()).unwrap();
    let mut events = Vec::new();
    for frame in 0..100 {
        let mut found = vec![Observation { score: 0.3, ..at(300.0, 100.0) }];
        if (20..23).contains(&frame) {
            found.push(at(100.0, 100.0));
        }
        events.extend(tracker.update(ms(frame, 25), &found, Looked::Everywhere));
    }
    assert_eq!(events, []);
}

/// The second round: what has been seen clearly is kept by observations that would begin nothing.
#[test]
fn a_low_score_keeps_an_object() {
    let mut tracker = Tracker::new(Options::default()).unwrap();
    let mut events = Vec::new();
    for frame in 0..250 {
        let score = if frame < 25 { 0.8 } else { 0.2 };
        let found = [Observation { score, ..at(50.0 + 2.0 * frame as f32, 100.0) }];
        events.extend(tracker.update(ms(frame, 25), &found, Looked::Everywhere));
    }
    assert_eq!(changes(&events), [Change::Started]);
    let object = tracker.objects().next().unwrap();
    assert!(object.seen && object.best_score == 0.8 && object.best_time == Duration::ZERO);
}

#[test]
fn thresholds_and_cool_downs_are_of_a_class() {
    let sure = ClassRule { threshold: Some(0.95), ..ClassRule::default() };
    let cool = ClassRule { cool_down: Duration::from_secs(10), ..ClassRule::default() };
    let rules = Rules { classes: [(1, sure), (2, cool)].into(), ..Rules::default() };
    let mut tracker = Tracker::new(Options { rules, ..Options::default() }).unwrap();
    let mut events = Vec::new();
    for frame in 0..200 {
        let mut found =
            vec![Observation { class: 1, ..at(50.0, 50.0) }, Observation { class: 2, ..at(150.0, 50.0) }];
        if frame >= 50 {
            found.push(Observation { class: 2, ..at(250.0, 50.0) });
        }
        if frame >= 120 {
            found.push(Observation { class: 2, ..at(350.0, 50.0) });
        }
        events.extend(tracker.update(ms(frame, 10), &found, Looked::Everywhere));
    }
    assert!(tracker.objects().all(|object| object.class == 2));
    let quiet: Vec<bool> = tracker.objects().map(|object| object.quiet).collect();
    assert_eq!(quiet, [false, true, false]);
    let started: Vec<u64> =
        events.iter().filter(|e| e.change == Change::Started).map(|e| e.object.id).collect();
    assert_eq!(started, [1, 3]);
    assert!(events.iter().all(|event| event.object.id != 2));
}

#[test]
fn the_class_is_what_most_observations_say() {
    let mut tracker = Tracker::new(Options::default()).unwrap();
    for frame in 0..100 {
        let class = if frame % 3 == 0 { 6 } else { 7 };
        let found = [
            Observation { class, ..at(100.0, 100.0) },
            // The other class's opinion of the same thing.
            Observation { class: 13 - class, score: 0.6, ..at(102.0, 101.0) },
        ];
        tracker.update(ms(frame, 25), &found, Looked::Everywhere);
    }
    let classes: Vec<u32> = tracker.objects().map(|object| object.class).collect();
    assert_eq!(classes, [7]);
}

/// A clock that is set back, and one that jumps ahead, cost nobody an id.
#[test]
fn a_clock_that_jumps_ends_nothing_that_is_still_there() {
    let mut tracker = Tracker::new(Options::default()).unwrap();
    let mut time = Duration::from_secs(100_000);
    let mut events = Vec::new();
    for frame in 0..300 {
        time += Duration::from_millis(40);
        if frame == 100 {
            time -= Duration::from_secs(50_000);
        }
        if frame == 200 {
            time += Duration::from_secs(3600);
        }
        events.extend(tracker.update(time, &[at(100.0, 100.0)], Looked::Everywhere));
    }
    assert_eq!(changes(&events), [Change::Started, Change::Stopped]);
    assert_eq!(tracker.counts().out_of_order, 1);
}
