//! Whether two lists of detections are the same.

pub use frcnn_eval::Found;

/// What two detections may differ in and still be the same.
#[derive(Clone, Copy)]
pub struct Tolerance {
    /// A detection below this score needs no like.
    pub min_score: f32,
    /// The boxes must overlap at least this much.
    pub iou: f32,
    /// The scores may differ by this much.
    pub score: f32,
}

impl Tolerance {
    fn same(&self, a: &Found, b: &Found) -> bool {
        a.class_id == b.class_id
            && a.bbox.iou(&b.bbox, 1.0) >= self.iou
            && (a.score - b.score).abs() <= self.score
    }
}

/// Pairs the detections of both lists one to one, and says in words which have no like in the other.
///
/// There are as many pairs as there can be: a detection is not without its like because that was given to another which
/// could have had a second one.
pub fn differences(expected: &[Found], found: &[Found], tolerance: &Tolerance) -> Vec<String> {
    let mut partner_of_found = vec![None; found.len()];
    // Those that need a like come first: later ones take nobody's away.
    let mut order: Vec<usize> = (0..expected.len()).collect();
    order.sort_by(|&a, &b| expected[b].score.total_cmp(&expected[a].score));
    let unpaired: Vec<usize> = order
        .into_iter()
        .filter(|&one| {
            let mut asked = vec![false; found.len()];
            !find_partner(one, expected, found, tolerance, &mut partner_of_found, &mut asked)
        })
        .collect();
    let missing = unpaired.iter().map(|&one| ("missing", &expected[one]));
    let extra = found.iter().zip(&partner_of_found).filter(|(_, partner)| partner.is_none());
    let all = missing.chain(extra.map(|(one, _)| ("extra", one)));
    // A score of NaN is below nothing.
    let counts = all.filter(|(_, one)| one.score.is_nan() || one.score >= tolerance.min_score);
    counts.map(|(what, one)| format!("{what}: {one:?}")).collect()
}

/// Gives `one` of the expected a partner, if need be by moving others to another of theirs.
fn find_partner(
    one: usize,
    expected: &[Found],
    found: &[Found],
    tolerance: &Tolerance,
    partner_of_found: &mut Vec<Option<usize>>,
    asked: &mut Vec<bool>,
) -> bool {
    for other in 0..found.len() {
        if asked[other] || !tolerance.same(&expected[one], &found[other]) {
            continue;
        }
        asked[other] = true;
        let free = match partner_of_found[other] {
            None => true,
            Some(holder) => find_partner(holder, expected, found, tolerance, partner_of_found, asked),
        };
        if free {
            partner_of_found[other] = Some(one);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use frcnn::BBox;

    use super::*;

    const TOLERANCE: Tolerance = Tolerance { min_score: 0.1, iou: 0.9, score: 0.01 };

    fn at(class_id: u16, x: f32, score: f32) -> Found {
        Found { class_id, score, bbox: BBox::new(x, 0.0, x + 99.0, 99.0) }
    }

    #[test]
    fn the_same_in_another_order() {
        let list = [at(1, 0.0, 0.9), at(1, 300.0, 0.8), at(2, 0.0, 0.7)];
        let moved = [at(2, 1.0, 0.695), at(1, 2.0, 0.9), at(1, 301.0, 0.805)];
        assert!(differences(&list, &moved, &TOLERANCE).is_empty());
    }

    #[test]
    fn a_duplicate_has_no_like() {
        let (one, two) = ([at(1, 0.0, 0.9)], [at(1, 0.0, 0.9), at(1, 0.0, 0.9)]);
        assert!(differences(&one, &two, &TOLERANCE)[0].starts_with("extra"));
        assert!(differences(&two, &one, &TOLERANCE)[0].starts_with("missing"));
        assert_eq!(differences(&two, &one, &TOLERANCE).len(), 1);
    }

    #[test]
    fn class_box_and_score_count() {
        let one = [at(1, 0.0, 0.9)];
        for other in [at(2, 0.0, 0.9), at(1, 10.0, 0.9), at(1, 0.0, 0.92), at(1, 0.0, f32::NAN)] {
            assert_eq!(differences(&one, &[other], &TOLERANCE).len(), 2, "{other:?}");
        }
        let nan = Found { bbox: BBox::new(f32::NAN, 0.0, f32::NAN, 0.0), ..one[0] };
        assert_eq!(differences(&[nan], &[nan], &TOLERANCE).len(), 2);
    }

    /// The first could take the like of the second, whose only one it is.
    #[test]
    fn nobody_goes_without_because_of_another() {
        let list = [at(1, 3.0, 0.9), at(1, 0.0, 0.895)];
        let others = [at(1, 1.0, 0.9), at(1, 7.0, 0.9)];
        assert!(differences(&list, &others, &TOLERANCE).is_empty());
        assert!(differences(&others, &list, &TOLERANCE).is_empty());
    }

    #[test]
    fn what_scores_little_needs_no_like() {
        assert!(differences(&[at(1, 0.0, 0.099)], &[], &TOLERANCE).is_empty());
        assert!(differences(&[at(1, 0.0, 0.101)], &[at(1, 0.0, 0.099)], &TOLERANCE).is_empty());
        assert_eq!(differences(&[at(1, 0.0, 0.1)], &[], &TOLERANCE).len(), 1);
    }
}
