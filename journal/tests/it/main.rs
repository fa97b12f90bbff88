//! The journal through its public interface, on memory and on files, and on a storage that fails on
//! command.

mod fixture;
mod group;
mod incarnations;
mod storage_faults;
mod tails;
