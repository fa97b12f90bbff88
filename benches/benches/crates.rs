//! Criterion's benchmarks of each crate: they report, and hold no bound.
fn main() {}
