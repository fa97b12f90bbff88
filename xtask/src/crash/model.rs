//! What a store must hold after a round: the state before it, and what the round's child was told and what
//! it acknowledged. It is *not* the store's oracle of LSNs: a child does not tell those. It needs less,
//! because a killed process leaves the state at one moment, and the next reader sees exactly that.
//!
//! # What must hold
//! - K1 A key that the round did not write is as it was: same value, same version.
//! - K2 A key that it wrote holds its last acknowledged line or a later one that was submitted; without an
//!   acknowledged one also what it held before.
//! - K3 Versions grow with every write of a key.
//! - K4 One thread: the state is the one after the first *n* lines, for one *n* of at least as many as were
//!   acknowledged, and versions grow with the lines' numbers.
//! - K5 One thread and batches: that *n* is at the end of a batch.

use std::collections::{BTreeMap, BTreeSet};

use crate::crash::script::{Line, Shape};

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) line: Line,
    pub(crate) version: u64,
}

/// A key: the tree's name (empty: the default one) and the key in it.
pub(crate) type Key = (String, String);

/// Everything that a store holds.
pub(crate) type Contents = BTreeMap<Key, Held>;

/// What a round's child was told, and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) tree: String,
    pub(crate) round: u64,
    pub(crate) shape: Shape,
    /// Lines handed to the child at most.
    pub(crate) submitted: u64,
    /// Numbers of the lines acknowledged.
    pub(crate) acknowledged: BTreeSet<u64>,
    pub(crate) threads: u64,
    pub(crate) batch: u64,
}

impl Told {
    /// The lines of each key, in order.
    fn lines_by_key(&self) -> BTreeMap<Key, Vec<u64>> {
        let mut by_key: BTreeMap<Key, Vec<u64>> = BTreeMap::new();
        for number in 1..=self.submitted {
            let key = Line { round: self.round, number }.key(self.shape);
            by_key.entry((self.tree.clone(), key)).or_default().push(number);
        }
        by_key
    }
}

/// Checks that `found` follows from `before` and what a `load` was told.
pub(crate) fn check_load(before: &Contents, told: &Told, found: &Contents) -> Result<(), String> {
    let by_key = told.lines_by_key();
    check_untouched(before, found, |key| by_key.contains_key(key))?;
    let newest_before = before.values().map(|held| held.version).max();
    for (key, numbers) in &by_key {
        let (was, is) = (before.get(key), found.get(key));
        check_written(told, key, numbers, was, is)?;
        let renewed = is.filter(|held| held.line.round == told.round);
        if renewed.is_some_and(|held| newest_before.is_some_and(|newest| held.version <= newest)) {
            return Err(format!(
                "K3: {key:?} was written and holds {is:?}; the newest version before is {newest_before:?}"
            ));
        }
    }
    if told.threads == 1 { check_prefix(told, &by_key, found) } else { Ok(()) }
}

/// K1.
pub(crate) fn check_untouched(
    before: &Contents,
    found: &Contents,
    touched: impl Fn(&Key) -> bool,
) -> Result<(), String> {
    for key in before.keys().chain(found.keys()).filter(|key| !touched(key)) {
        let (was, is) = (before.get(key), found.get(key));
        if was != is {
            return Err(format!("K1: nobody wrote {key:?}; it held {was:?} and now holds {is:?}"));
        }
    }
    Ok(())
}

/// K2 and K3.
fn check_written(
    told: &Told,
    key: &Key,
    numbers: &[u64],
    was: Option<&Held>,
    is: Option<&Held>,
) -> Result<(), String> {
    let last = numbers.iter().rev().find(|number| told.acknowledged.contains(number));
    let Some(last) = last else {
        if was == is {
            return Ok(());
        }
        return check_later(told, key, numbers, 0, was, is);
    };
    check_later(told, key, numbers, *last, was, is)
}

fn check_later(
    told: &Told,
    key: &Key,
    numbers: &[u64],
    least: u64,
    was: Option<&Held>,
    is: Option<&Held>,
) -> Result<(), String> {
    let Some(held) = is else {
        return Err(format!("K2: {key:?} is gone; line {least} was acknowledged, before it held {was:?}"));
    };
    let Line { round, number } = held.line;
    if round != told.round || number < least || !numbers.contains(&number) {
        return Err(format!(
            "K2: {key:?} holds {held:?}, acknowledged was line {least} of {numbers:?}, before it held {was:?}"
        ));
    }
    if was.is_some_and(|was| was.version >= held.version) {
        return Err(format!("K3: {key:?} held {was:?} and now holds {held:?}"));
    }
    Ok(())
}

/// K4 and K5. The highest line found is the *n*.
fn check_prefix(told: &Told, by_key: &BTreeMap<Key, Vec<u64>>, found: &Contents) -> Result<(), String> {
    let of_round = |held: &&Held| held.line.round == told.round;
    let reached = found.values().filter(of_round).map(|held| held.line.number).max().unwrap_or(0);
    let mut version_of = BTreeMap::new();
    for (key, numbers) in by_key {
        let Some(expected) = numbers.iter().rev().find(|number| **number <= reached) else { continue };
        match found.get(key) {
            Some(held) if held.line == (Line { round: told.round, number: *expected }) => {
                version_of.insert(*expected, held.version);
            }
            is => {
                return Err(format!(
                    "K4: line {reached} is there, so {key:?} holds line {expected}; it holds {is:?}"
                ));
            }
        }
    }
    let versions: Vec<(u64, u64)> = version_of.into_iter().collect();
    let same_batch = |a: u64, b: u64| (a - 1) / told.batch == (b - 1) / told.batch;
    for pair in versions.windows(2) {
        let ((a, of_a), (b, of_b)) = (pair[0], pair[1]);
        let right = if same_batch(a, b) { of_a == of_b } else { of_a < of_b };
        if !right {
            return Err(format!("K4: line {a} has version {of_a} and line {b} version {of_b}"));
        }
    }
    let ends_batch = reached % told.batch == 0 || reached == told.submitted;
    if !ends_batch {
        return Err(format!("K5: line {reached} is there without the rest of its batch of {}", told.batch));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(threads: u64, batch: u64, acknowledged: u64) -> Told {
        Told {
            tree: String::new(),
            round: 2,
            shape: Shape { large_bytes: 0 },
            submitted: 60,
            acknowledged: (1..=acknowledged).collect(),
            threads,
            batch,
        }
    }

    /// The state after the first `lines` lines of `told` on top of `before`.
    fn after(before: &Contents, told: &Told, lines: u64) -> Contents {
        let mut state = before.clone();
        for number in 1..=lines {
            let line = Line { round: told.round, number };
            let version = 1000 + (number - 1) / told.batch;
            state.insert((told.tree.clone(), line.key(told.shape)), Held { line, version });
        }
        state
    }

    fn before() -> Contents {
        let line = |number| Line { round: 1, number };
        let key = |number| (String::new(), line(number).key(Shape { large_bytes: 0 }));
        (1..40).map(|number| (key(number), Held { line: line(number), version: number })).collect()
    }

    #[test]
    fn every_prefix_from_the_acknowledged_on_is_right_and_no_shorter_one() {
        let (before, told) = (before(), told(1, 1, 20));
        for lines in 0..=60 {
            let right = check_load(&before, &told, &after(&before, &told, lines));
            assert_eq!(right.is_ok(), lines >= 20, "{lines}: {right:?}");
        }
    }

    #[test]
    fn a_batch_in_part_is_seen() {
        let (before, told) = (before(), told(1, 4, 20));
        for lines in 20..=60 {
            let right = check_load(&before, &told, &after(&before, &told, lines));
            assert_eq!(right.is_ok(), lines % 4 == 0, "{lines}: {right:?}");
        }
    }

    #[test]
    fn any_single_change_of_a_right_state_is_seen() {
        let (before, told) = (before(), told(1, 1, 30));
        let right = after(&before, &told, 40);
        for key in right.keys() {
            let mut gone = right.clone();
            gone.remove(key);
            assert!(check_load(&before, &told, &gone).is_err(), "{key:?} gone");
            let mut older = right.clone();
            older.insert(key.clone(), Held { line: Line { round: 1, number: 99 }, version: 1 });
            assert!(check_load(&before, &told, &older).is_err(), "{key:?} as it never was");
            let mut stale = right.clone();
            stale.get_mut(key).unwrap().version = 0;
            assert!(check_load(&before, &told, &stale).is_err(), "{key:?} with an old version");
        }
        let mut more = right.clone();
        let line = Line { round: 2, number: 1 };
        more.insert((String::new(), "never written".into()), Held { line, version: 5 });
        assert!(check_load(&before, &told, &more).is_err());
    }

    #[test]
    fn with_several_threads_an_acknowledged_line_must_be_there_and_others_may() {
        let (before, told) = (before(), told(3, 1, 30));
        assert_eq!(check_load(&before, &told, &after(&before, &told, 45)), Ok(()));
        let lost = check_load(&before, &told, &after(&before, &told, 10));
        assert!(lost.unwrap_err().starts_with("K2"));
    }
}
