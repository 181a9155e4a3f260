//! Memory for what requests send.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::refusal::Refusal;

/// What is counted: pages of this many bytes.
const PAGE: usize = 4096;

/// The most bytes that requests of all connections may hold at once. They are taken as they arrive and not as they are announced, so
/// that an announcement costs nobody anything.
#[derive(Clone)]
pub(crate) struct Budget {
    pages: Arc<Semaphore>,
    all: usize,
}

/// What a request holds; given back when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// One of each budget that it is of.
    permits: Vec<OwnedSemaphorePermit>,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Budget {
        let all = bytes.div_ceil(PAGE).min(Semaphore::MAX_PERMITS);
        Budget { pages: Arc::new(Semaphore::new(all)), all }
    }

    /// Makes what `held` has of this budget enough for `bytes` in all.
    ///
    /// # Errors
    /// Others hold too much at this moment.
    pub(crate) fn hold(&self, held: &mut Held, bytes: usize) -> Result<(), Refusal> {
        let own = held.permits.iter_mut().find(|permit| Arc::ptr_eq(permit.semaphore(), &self.pages));
        let has = own.as_ref().map_or(0, |permit| permit.num_permits());
        let more = bytes.div_ceil(PAGE).saturating_sub(has);
        if more == 0 {
            return Ok(());
        }
        let more = u32::try_from(more).map_err(|_| Refusal::Busy)?;
        let more = self.pages.clone().try_acquire_many_owned(more).map_err(|_| Refusal::Busy)?;
        match own {
            Some(permit) => permit.merge(more),
            None => held.permits.push(more),
        }
        Ok(())
    }

    /// Bytes that are held.
    pub(crate) fn held(&self) -> usize {
        self.all.saturating_sub(self.pages.available_permits()) * PAGE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_comes_back() {
        let budget = Budget::new(3 * PAGE);
        let (mut a, mut b) = (Held::default(), Held::default());
        budget.hold(&mut a, 1).unwrap();
        budget.hold(&mut a, PAGE).unwrap();
        assert_eq!(budget.held(), PAGE);
        budget.hold(&mut b, PAGE + 1).unwrap();
        assert_eq!(budget.hold(&mut a, PAGE + 1), Err(Refusal::Busy));
        drop(b);
        budget.hold(&mut a, 3 * PAGE).unwrap();
        assert_eq!(budget.held(), 3 * PAGE);
        // Of two budgets.
        let other = Budget::new(PAGE);
        other.hold(&mut a, PAGE).unwrap();
        assert_eq!((other.held(), other.hold(&mut a, PAGE + 1)), (PAGE, Err(Refusal::Busy)));
        drop(a);
        assert_eq!((budget.held(), other.held()), (0, 0));
    }
}
