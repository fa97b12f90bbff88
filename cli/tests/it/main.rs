//! The command as a user meets it: real processes, real directories, exit codes. What the engine does
//! inside is tested there; here it is opened as a library only to look at what processes left.
#![allow(clippy::disallowed_methods, reason = "the tests make the directory trees that the tool reads")]
#![allow(clippy::unwrap_used, reason = "a test that meets an error fails, helpers included")]

mod commands;
mod demo;
mod exclusion;
mod exits;
mod harness;
mod indexing;
mod kills;
mod listing;
mod loading;
