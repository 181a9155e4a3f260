//! Work for one thread or for the current rayon pool: results are in order and the same either way.

use rayon::prelude::*;

/// `work` of every item.
pub(crate) fn map<I: Sync, T: Send>(
    parallel: bool,
    items: &[I],
    work: impl Fn(&I) -> T + Sync + Send,
) -> Vec<T> {
    if parallel {
        items.par_iter().with_max_len(1).map(work).collect()
    } else {
        items.iter().map(work).collect()
    }
}

/// What two pieces of work give.
pub(crate) fn both<A: Send, B: Send>(
    parallel: bool,
    a: impl FnOnce() -> A + Send,
    b: impl FnOnce() -> B + Send,
) -> (A, B) {
    if parallel { rayon::join(a, b) } else { (a(), b()) }
}
