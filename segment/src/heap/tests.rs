//! Tests of the heap segment.
