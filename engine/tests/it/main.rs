//! The engine from outside, on each storage back end, with frames, ring and log small enough that
//! splits, cuts and recycling really happen.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and knows its numbers"
)]

mod basics;
mod batches;
mod damage;
mod listing;
mod locking;
mod model;
mod recovery;
mod support;
mod trees;
mod values;
