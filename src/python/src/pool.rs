//! Threads of an operation of its own.

use crate::error::{Failure, Kind};

/// As many as `Options::threads` may be.
const MOST: usize = 1024;

/// So many threads, for one operation. Those that rayon shares are of the process that used them first: one that is forked off has
/// none of them, and would wait for ever. `what` is the argument that says how many.
pub(crate) fn pool(what: &str, threads: usize) -> Result<rayon::ThreadPool, Failure> {
    if !(1..=MOST).contains(&threads) {
        return Err(Failure::new(Kind::Option, format_args!("{what} must be 1 to {MOST}")));
    }
    let built = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    built.map_err(|error| Failure::new(Kind::Limit, format_args!("{what}: {error}")))
}
