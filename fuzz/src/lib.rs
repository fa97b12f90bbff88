//! treering's fuzz targets, as functions from bytes.
//!
//! A target panics if, and only if, the code under test breaks a promise. The functions are plain, so that
//! the tests of this package run them on a stable toolchain; the binaries in `targets/` hand them to libFuzzer.
//! What a target draws its choices from is [`input::Input`], so that every byte string means something.
//!
//! Checksums are mended inside the targets (`mend`), in a second copy or after damage to a sound sample, so
//! that no mutator has to find them, and seeds and stored failures mean the same in every runner.
#![forbid(unsafe_code)]

mod damage;
mod directory;
mod frame;
mod frame_image;
mod frame_operations;
mod history;
pub mod input;
mod log;
mod manifest;
mod mend;
mod placed;
mod record;
mod segment;
mod store;

pub use frame::frame_verify;
pub use frame_image::frame_image;
pub use frame_operations::frame_operations;
pub use history::crash_histories;
pub use log::{log_directory, log_headers};
pub use manifest::manifest_load;
pub use record::record_decode;
pub use segment::segment_read;
pub use store::store_open;

/// A fuzz target.
pub type Target = fn(&[u8]);

/// Every target with the name of its binary and of its folder of seeds.
pub const TARGETS: &[(&str, Target)] = &[
    ("frame_verify", frame_verify),
    ("frame_image", frame_image),
    ("frame_operations", frame_operations),
    ("record_decode", record_decode),
    ("log_headers", log_headers),
    ("log_directory", log_directory),
    ("manifest_load", manifest_load),
    ("segment_read", segment_read),
    ("store_open", store_open),
    ("crash_histories", crash_histories),
];
