//! Plans by the size of what they read.

use std::sync::{Mutex, PoisonError};

use crate::Error;
use crate::plan::Plan;

/// The plans of the sizes used last, of which there are at most a number. A plan holds no weights, so a handful costs little; a
/// camera has one size and a folder of photos a few.
#[derive(Debug)]
pub(crate) struct PlanCache {
    most: usize,
    /// By rows and columns, the latest used last.
    plans: Mutex<Vec<([usize; 2], Plan)>>,
}

impl PlanCache {
    pub(crate) fn new(most: usize) -> PlanCache {
        PlanCache { most, plans: Mutex::default() }
    }

    /// The plan for `size`, which `make` makes where there is none.
    pub(crate) fn get(
        &self,
        size: [usize; 2],
        make: impl FnOnce() -> Result<Plan, Error>,
    ) -> Result<Plan, Error> {
        // Held while a plan is made, so that two threads do not make the same one.
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = match plans.iter().position(|(known, _)| *known == size) {
            Some(position) => plans.remove(position).1,
            None => make()?,
        };
        if plans.len() >= self.most && !plans.is_empty() {
            plans.remove(0);
        }
        plans.push((size, plan.clone()));
        Ok(plan)
    }
}
