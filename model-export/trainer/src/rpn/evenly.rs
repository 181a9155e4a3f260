//! Drawing evenly over objects.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Draws `most` items at random, or as many as there are, of each group as many as of the others: those of a small group several
/// times.
///
/// Large objects are overlapped by some hundred anchors and small ones by two: drawn from all alike, the small ones would
/// hardly ever be learned from.
pub(crate) fn evenly<T: Copy>(mut groups: Vec<Vec<T>>, most: usize, rng: &mut ChaCha8Rng) -> Vec<T> {
    groups.retain(|group| !group.is_empty());
    groups.shuffle(rng);
    for group in &mut groups {
        group.shuffle(rng);
    }
    let most = most.min(groups.iter().map(Vec::len).sum());
    let turns = (0..most).map(|turn| (turn % groups.len(), turn / groups.len()));
    turns.map(|(group, round)| groups[group][round % groups[group].len()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn small_groups_are_drawn_as_often_as_large_ones() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let groups =
            || vec![(0..100).collect::<Vec<usize>>(), vec![100, 101], Vec::new(), (200..300).collect()];
        let drawn = evenly(groups(), 21, &mut rng);
        let of = |low: usize, high: usize| drawn.iter().filter(|item| (low..high).contains(*item)).count();
        assert_eq!((drawn.len(), of(0, 100), of(100, 200), of(200, 300)), (21, 7, 7, 7));
        let mut distinct = drawn.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), 16);
        assert_ne!(drawn, evenly(groups(), 21, &mut rng));
        assert_eq!(evenly(groups(), 1000, &mut rng).len(), 202);
        assert!(evenly(Vec::<Vec<usize>>::new(), 5, &mut rng).is_empty());
    }
}
