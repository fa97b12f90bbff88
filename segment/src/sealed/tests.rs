//! Tests of sealed segments.
