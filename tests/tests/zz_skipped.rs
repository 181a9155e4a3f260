//! The last test program of `cargo test --workspace`, by its name: what the others skipped, once more and together.

#[test]
fn what_was_skipped() {
    frcnn_testkit::report();
}
