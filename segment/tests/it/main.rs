//! The crate's integration tests: the seam's contract on both back ends, what only the file back end
//! promises, and sealed segments on real files.

mod back_ends;
mod files;
mod locks;
mod sealed;
