//! The commands, one module each (`point` holds `put`, `get` and `del`). Each has its arguments and a
//! function that runs it.

pub(crate) mod checkpoint;
pub(crate) mod demo;
pub(crate) mod index;
pub(crate) mod list;
pub(crate) mod load;
pub(crate) mod point;
pub(crate) mod scan;
pub(crate) mod stat;
pub(crate) mod tree;
pub(crate) mod verify;
