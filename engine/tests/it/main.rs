//! The engine from outside, on each storage back end, with frames, ring and log small enough that
//! splits, cuts and recycling really happen.

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
