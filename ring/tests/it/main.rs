//! The ring as its users see it: arbitrary sequences against a plain vector, and real threads.
#![cfg(not(loom))]

mod sequences;
mod threads;
