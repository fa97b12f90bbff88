//! The one place from which this crate takes atomics and locks, so that a model checker can swap
//! them. It is not an abstraction over them.

pub(crate) use parking_lot::{Condvar, Mutex, RwLock};
pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
