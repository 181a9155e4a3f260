//! A pool of the tensors that operators give, kept from frame to frame.
//!
//! The system maps a new feature map of 100 MB page by page, which took a fifth of the time of VGG16's trunk. So the
//! pool keeps each tensor that it has handed out, and hands it out again once nobody else holds it.

use std::sync::{Arc, Mutex, PoisonError};

use frcnn_files::try_reserve;
use frcnn_kernels::prefer_huge_pages;
use tract_core::internal::*;

/// The tensors of one graph of a detector, whatever the number of its sessions.
#[derive(Debug, Default)]
pub(crate) struct TensorPool(Mutex<PoolState>);

#[derive(Debug, Default)]
struct PoolState {
    tensors: Vec<PooledTensor>,
    /// Runs begun so far, and those of them not yet ended.
    runs: u64,
    under_way: u64,
}

#[derive(Debug)]
struct PooledTensor {
    tensor: Arc<Tensor>,
    /// The number of the run that used it last.
    last_run: u64,
}

impl PooledTensor {
    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.tensor) == 1
    }
}

impl TensorPool {
    /// A tensor of `shape` that `fill` writes; it may hold anything before.
    pub(crate) fn make<T: Datum>(
        &self,
        shape: &[usize],
        fill: impl FnOnce(&mut [T]) -> TractResult<()>,
    ) -> TractResult<Arc<Tensor>> {
        let mut tensor = self.take::<T>(shape)?;
        let values = Arc::get_mut(&mut tensor).context("a tensor that nobody else holds")?;
        fill(values.try_as_plain_ram_mut()?.as_slice_mut::<T>()?)?;
        let mut state = self.state();
        let last_run = state.runs;
        state.tensors.push(PooledTensor { tensor: tensor.clone(), last_run });
        Ok(tensor)
    }

    fn take<T: Datum>(&self, shape: &[usize]) -> TractResult<Arc<Tensor>> {
        let len = shape.iter().fold(1usize, |len, &side| len.saturating_mul(side));
        let mut state = self.state();
        // The one used last is the likeliest to be in a cache still.
        let fits = |tensor: &Tensor| tensor.len() == len && tensor.datum_type() == T::datum_type();
        let found = state.tensors.iter().rposition(|pooled| pooled.is_idle() && fits(&pooled.tensor));
        let found = found.map(|position| state.tensors.remove(position).tensor);
        drop(state);
        match found {
            Some(mut tensor) => {
                Arc::get_mut(&mut tensor).context("an idle tensor")?.set_shape(shape)?;
                Ok(tensor)
            }
            None => {
                // tract's own allocation ends the process where there is no memory.
                try_reserve(&mut Vec::<T>::new(), len)?;
                let mut tensor = Tensor::zero_dt(T::datum_type(), shape)?;
                prefer_huge_pages(tensor.try_as_plain_ram_mut()?.as_slice_mut::<T>()?);
                Ok(Arc::new(tensor))
            }
        }
    }

    /// Begins a run, which ends when the guard is dropped. Then idle tensors are evicted that none of the last runs has
    /// used, such as those of another blob size. The last runs are twice as many as are under way.
    pub(crate) fn run(&self) -> Run<'_> {
        let mut state = self.state();
        state.runs += 1;
        state.under_way += 1;
        Run(self)
    }

    fn end_run(&self) {
        let mut state = self.state();
        let PoolState { runs, under_way, .. } = *state;
        state.tensors.retain(|pooled| !pooled.is_idle() || pooled.last_run + 2 * under_way > runs);
        state.under_way -= 1;
    }

    fn state(&self) -> std::sync::MutexGuard<'_, PoolState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A run under way.
pub(crate) struct Run<'a>(&'a TensorPool);

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.0.end_run();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn make(tensors: &TensorPool, shape: &[usize]) -> Arc<Tensor> {
        tensors
            .make(shape, |values| {
                values.fill(1f32);
                Ok(())
            })
            .unwrap()
    }

    fn kept(tensors: &TensorPool) -> usize {
        tensors.state().tensors.len()
    }

    #[test]
    fn frames_of_one_size_share_tensors() {
        let tensors = TensorPool::default();
        for _ in 0..10 {
            let _run = tensors.run();
            let first = make(&tensors, &[1, 4, 4, 3]);
            let second = make(&tensors, &[1, 4, 4, 3]);
            assert!(!Arc::ptr_eq(&first, &second), "both are in use");
            drop(first);
            // As long as `first`, of another shape.
            assert_eq!(make(&tensors, &[1, 2, 8, 3]).shape(), [1, 2, 8, 3]);
        }
        assert_eq!(kept(&tensors), 2);
    }

    #[test]
    fn other_sizes_go_after_a_while() {
        let tensors = TensorPool::default();
        for side in 1..50 {
            let _run = tensors.run();
            make(&tensors, &[1, side, side, 3]);
        }
        assert!(kept(&tensors) <= 3, "{}", kept(&tensors));
    }

    #[test]
    fn a_tensor_in_use_is_left_alone() {
        let tensors = TensorPool::default();
        let held = make(&tensors, &[2]);
        for _ in 0..10 {
            let _run = tensors.run();
            let other = tensors
                .make(&[2], |values| {
                    values.fill(2f32);
                    Ok(())
                })
                .unwrap();
            assert!(!Arc::ptr_eq(&held, &other));
        }
        assert_eq!(held.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap(), [1.0, 1.0]);
    }

    #[test]
    fn runs_side_by_side_do_not_take_from_each_other() {
        let tensors = TensorPool::default();
        for round in 0..10 {
            let (_one, _other) = (tensors.run(), tensors.run());
            let pair = (make(&tensors, &[3]), make(&tensors, &[3]));
            assert!(!Arc::ptr_eq(&pair.0, &pair.1));
            assert_eq!(kept(&tensors), 2, "round {round}");
        }
    }
}
