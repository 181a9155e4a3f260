use frcnn_bundle::Resize;
use frcnn_kernels::F32Products;
use proptest::prelude::*;

use super::*;
use crate::cost::Limits;

fn manifest(classes: usize, width_offset: f32) -> Manifest {
    let mut manifest = Manifest::new((0..classes).map(|class| class.to_string()).collect());
    (manifest.box_width_offset, manifest.nms_width_offset) = (width_offset, width_offset);
    manifest
}

/// Of images whose boxes are decoded in their own pixels.
fn pixels((width, height): (u32, u32)) -> BoxPixels {
    let manifest = manifest(2, 1.0);
    BoxPixels::new(&manifest, [height, width], &manifest.fit(height, width, 600))
}

fn settings(score_threshold: f32, max_detections: usize) -> Settings {
    Settings {
        threads: 1,
        score_threshold,
        nms_iou: 0.3,
        max_detections,
        f32_products: F32Products::default(),
        limits: Limits::default(),
    }
}

/// Any number, and often one that hurts.
fn any_float() -> impl Strategy<Value = f32> {
    prop_oneof![
        4 => -3.0f32..3.0,
        2 => -1e4f32..1e4,
        1 => any::<f32>(),
        1 => prop::sample::select(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 1e38, -0.0, 1e-40]),
    ]
}

fn any_box() -> impl Strategy<Value = BBox> {
    prop_oneof![
        (any_float(), any_float(), any_float(), any_float()).prop_map(|(a, b, c, d)| BBox::new(a, b, c, d)),
        (0f32..300.0, 0f32..300.0, 0f32..300.0, 0f32..300.0).prop_map(|(x, y, w, h)| BBox::new(
            x,
            y,
            x + w,
            y + h
        )),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(frcnn_testkit::cases(2000)))]

    #[test]
    fn detections_are_what_they_promise(
        boxes in prop::collection::vec((any_box(), any::<bool>()), 0..12),
        values in prop::collection::vec(any_float(), 12 * 3 * 5),
        sides in (0u32..400, 0u32..400),
        offset in prop::sample::select(vec![0.0f32, 0.5, 1.0]),
        threshold in prop::sample::select(vec![0.0f32, 0.05, -1.0, -1e30]),
    ) {
        let (proposals, valid): (Vec<BBox>, Vec<bool>) = boxes.into_iter().unzip();
        let index: Vec<u32> = (0..).zip(&valid).map(|(row, &valid)| if valid { row } else { NO_ROI }).collect();
        let (scores, deltas) = values.split_at(12 * 3);
        let output = HeadOutput { cls_prob: scores.to_vec(), bbox_pred: deltas.to_vec() };
        let mut postprocessor = Postprocessor::default();
        let found = postprocessor.run(&proposals, &index, &output, &pixels(sides), &manifest(3, offset), &settings(threshold, 100));
        let (right, bottom) = (sides.0.saturating_sub(1) as f32, sides.1.saturating_sub(1) as f32);
        for Detection { score, bbox, class_id, proposal } in &found {
            prop_assert!(score.is_finite() && *score > threshold);
            prop_assert!(bbox.is_valid() && bbox.x1 >= 0.0 && bbox.y1 >= 0.0, "{bbox:?}");
            prop_assert!(bbox.x2 <= right && bbox.y2 <= bottom, "{bbox:?} in {sides:?}");
            prop_assert!((1..3).contains(class_id) && valid[*proposal as usize]);
        }
        let rows: Vec<usize> = (0..valid.len()).filter(|&row| valid[row]).collect();
        let bad = rows.iter().flat_map(|row| &scores[row * 3 + 1..row * 3 + 3]).filter(|score| !score.is_finite());
        prop_assert!(postprocessor.not_finite() >= bad.count());
    }
}

#[test]
fn what_is_not_finite_is_counted() {
    let proposals = [BBox::new(10.0, 10.0, 29.0, 29.0); 4];
    let mut output = HeadOutput {
        cls_prob: [[0.5, 0.5], [0.5, f32::NAN], [0.5, 0.75], [0.5, f32::INFINITY]].concat(),
        bbox_pred: vec![0.0; 4 * 8],
    };
    output.bbox_pred[2 * 8 + 4] = f32::NAN;
    let mut postprocessor = Postprocessor::default();
    let mut run = |output: &HeadOutput| {
        let found = postprocessor.run(
            &proposals,
            &[0, 1, 2, 3],
            output,
            &pixels((64, 48)),
            &manifest(2, 1.0),
            &settings(0.05, 100),
        );
        (found.iter().map(|d| d.proposal).collect::<Vec<_>>(), postprocessor.not_finite())
    };
    assert_eq!(run(&output), (vec![0], 3));
    output.bbox_pred[2 * 8 + 4] = 0.0;
    output.cls_prob[3] = 0.0;
    output.cls_prob[7] = 0.0;
    assert_eq!(run(&output), (vec![2], 0));
    // Shrunk to nothing: inclusive corners are then a pixel apart, the wrong way.
    output.bbox_pred[2 * 8 + 6] = -100.0;
    assert_eq!(run(&output), (vec![0], 0));
}

/// By the definition: all survivors of all classes, then the best.
#[test]
fn thinning_out_changes_nothing() {
    let (classes, rows) = (1200, 60);
    let mut state = 1u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    let proposals: Vec<BBox> = (0..rows)
        .map(|_| {
            let (x, y) = (random() * 500.0, random() * 500.0);
            BBox::new(x, y, x + 20.0 + random() * 100.0, y + 20.0 + random() * 100.0)
        })
        .collect();
    let index: Vec<u32> = (0..rows).collect();
    // Many ties.
    let cls_prob: Vec<f32> = (0..rows as usize * classes).map(|_| (random() * 64.0).floor() / 64.0).collect();
    let output = HeadOutput { bbox_pred: vec![0.0; cls_prob.len() * 4], cls_prob };
    let manifest = manifest(classes, 1.0);
    for max in [1, 100, MAX_DETECTIONS] {
        let found = Postprocessor::default().run(
            &proposals,
            &index,
            &output,
            &pixels((640, 640)),
            &manifest,
            &settings(0.0, max),
        );
        let mut all = Vec::new();
        for class_id in 1..classes {
            let of_class = proposals.iter().zip(0..).filter_map(|(bbox, proposal)| {
                let score = output.cls_prob[proposal as usize * classes + class_id];
                let bbox = bbox.clip(640, 640);
                (score > 0.0).then_some(Detection { class_id: class_id as u16, score, bbox, proposal })
            });
            let mut of_class: Vec<Detection> = of_class.collect();
            let kept = nms(&mut of_class, 0.3, 1.0);
            all.extend_from_slice(&of_class[..kept]);
        }
        assert!(all.len() > 2 * MANY);
        let best: Detections = keep_best(&mut all, max);
        // A box decoded with no regression is its proposal, but for a rounding.
        let key = |d: &Detection| (d.class_id, d.proposal, d.score.to_bits());
        assert_eq!(found.iter().map(key).collect::<Vec<_>>(), best.iter().map(key).collect::<Vec<_>>());
    }
}

/// torchvision's rules by their definition: all boxes of all classes in pixels of the blob, one greedy suppression of all with
/// shifted corners, then back.
#[test]
fn torchvisions_rules_by_their_definition() {
    let mut state = 7u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    let mut manifest = manifest(4, 0.0);
    (manifest.resize, manifest.pad_multiple, manifest.max_long_side) = (Resize::Torchvision, 32, 213);
    (manifest.nms_keeps_equal, manifest.min_box_side) = (true, 3.0);
    manifest.box_weights = [10.0, 10.0, 5.0, 5.0];
    let (height, width) = (97u32, 133u32);
    let fit = manifest.fit(height, width, 150);
    assert_eq!(fit.image, [150, 205]);
    let pixels = BoxPixels::new(&manifest, [height, width], &fit);
    let mut small = 0;
    for round in 0..20 {
        let proposals: Vec<BBox> = (0..40)
            .map(|_| {
                let (x, y) = (random() * 205.0, random() * 150.0);
                // Some end beyond the image.
                BBox::new(x, y, x + 4.0 + random() * 90.0, y + 4.0 + random() * 70.0)
            })
            .collect();
        let index: Vec<u32> = (0..40).collect();
        let output = HeadOutput {
            cls_prob: (0..160).map(|_| random()).collect(),
            bbox_pred: (0..640).map(|_| 4.0 * (random() - 0.5)).collect(),
        };
        let settings = Settings { nms_iou: 0.5, ..settings(0.3, 60) };
        let found = Postprocessor::default().run(&proposals, &index, &output, &pixels, &manifest, &settings);

        let coder = BoxCoder { width_offset: 0.0, weights: manifest.box_weights };
        let mut all = Vec::new();
        for (row, proposal) in proposals.iter().enumerate() {
            for class in 1..4 {
                let place = row * 4 + class;
                let deltas = output.bbox_pred[place * 4..][..4].first_chunk::<4>();
                let bbox = coder.decode(proposal, *deltas.expect("four"));
                let bbox = BBox::new(
                    bbox.x1.clamp(0.0, 205.0),
                    bbox.y1.clamp(0.0, 150.0),
                    bbox.x2.clamp(0.0, 205.0),
                    bbox.y2.clamp(0.0, 150.0),
                );
                if output.cls_prob[place] > 0.3 {
                    match bbox.x2 - bbox.x1 >= 3.0 && bbox.y2 - bbox.y1 >= 3.0 {
                        true => all.push((output.cls_prob[place], class, bbox, row)),
                        false => small += 1,
                    }
                }
            }
        }
        let corners = all.iter().flat_map(|(_, _, b, _)| [b.x1, b.y1, b.x2, b.y2]);
        let apart = corners.fold(0.0, f32::max) + 1.0;
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut kept: Vec<(f32, usize, BBox, usize)> = Vec::new();
        for candidate in all {
            let shifted =
                |(_, class, bbox, _): &(f32, usize, BBox, usize)| bbox.shifted(*class as f32 * apart);
            if kept.iter().all(|survivor| shifted(survivor).iou(&shifted(&candidate), 0.0) <= 0.5) {
                kept.push(candidate);
            }
        }
        kept.truncate(60);
        assert!(kept.len() > 20, "round {round}");
        let keys: Vec<(u32, usize, usize)> = kept.iter().map(|k| (k.0.to_bits(), k.1, k.3)).collect();
        let key = |d: &Detection| (d.score.to_bits(), usize::from(d.class_id), d.proposal as usize);
        assert_eq!(found.iter().map(key).collect::<Vec<_>>(), keys, "round {round}");
        for (detection, (_, _, bbox, _)) in found.iter().zip(&kept) {
            let (right, down) = (133.0 / 205.0, 97.0 / 150.0);
            for (found, expected) in [
                (detection.bbox.x1, bbox.x1 * right),
                (detection.bbox.y1, bbox.y1 * down),
                (detection.bbox.x2, (bbox.x2 * right).min(133.0)),
                (detection.bbox.y2, (bbox.y2 * down).min(97.0)),
            ] {
                assert_eq!(found, expected);
            }
        }
    }
    assert!(small > 20, "{small}");
}
