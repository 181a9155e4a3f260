//! Which class an object is, by all of its observations.

/// More classes than this are not taken for one object; the weakest makes room.
const MOST: usize = 8;

/// Sums of scores by class.
#[derive(Clone, Debug, Default)]
pub(crate) struct Votes {
    sums: Vec<(u32, f64)>,
}

impl Votes {
    /// Adds an observation's vote; one without a positive score has a small one.
    pub(crate) fn cast(&mut self, class: u32, score: f32) {
        let vote = f64::from(score).clamp(0.01, 1.0);
        if let Some((_, sum)) = self.sums.iter_mut().find(|(of, _)| *of == class) {
            *sum += vote;
            return;
        }
        if self.sums.len() == MOST {
            let weakest = (0..MOST).min_by(|&a, &b| self.sums[a].1.total_cmp(&self.sums[b].1));
            self.sums.swap_remove(weakest.unwrap_or(0));
        }
        self.sums.push((class, vote));
    }

    /// The class with the most; of equals the one that came first.
    pub(crate) fn winner(&self) -> Option<u32> {
        self.sums.iter().rev().max_by(|a, b| a.1.total_cmp(&b.1)).map(|&(class, _)| class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_majority_wins_by_score() {
        let mut votes = Votes::default();
        assert_eq!(votes.winner(), None);
        for (class, score) in [(6, 0.9), (7, 0.5), (7, 0.6), (7, f32::MAX), (6, -3.0)] {
            votes.cast(class, score);
        }
        assert_eq!(votes.winner(), Some(7));
        for class in 100..200 {
            votes.cast(class, 0.3);
        }
        assert_eq!((votes.winner(), votes.sums.len()), (Some(7), MOST));
    }

    #[test]
    fn of_equals_the_first() {
        let mut votes = Votes::default();
        votes.cast(3, 0.5);
        votes.cast(2, 0.5);
        assert_eq!(votes.winner(), Some(3));
    }
}
