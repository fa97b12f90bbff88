//! The record's bytes: golden examples, round trips, and what is refused.
