//! What a store may hold after a scenario, by what it acknowledged: a list of steps, each with its standing,
//! from which the allowed contents follow. One thread submits, so submission order is log order.
//!
//! - **L1** A step that was acknowledged has happened.
//! - **L2** A step that failed has happened as a whole or not at all, and later steps stand on either.
//! - **L3** After a power cut the store is at one point between the last durable acknowledgement and the end;
//!   after a kill it is at the end.

use std::collections::BTreeMap;

use treering::{Durability, Engine};

/// A tree and a key in it; the key is `None` for the tree itself.
pub(super) type Place = (String, Option<Vec<u8>>);
/// Everything that a reader sees.
pub(super) type Contents = BTreeMap<Place, Vec<u8>>;

/// One change of the contents.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Put(Place, Vec<u8>),
    Delete(Place),
    DropTree(String),
}

impl Change {
    fn apply(&self, contents: &mut Contents) {
        match self {
            Change::Put(place, value) => {
                contents.insert(place.clone(), value.clone());
            }
            Change::Delete(place) => {
                contents.remove(place);
            }
            Change::DropTree(name) => contents.retain(|place, _| place.0 != *name),
        }
    }
}

/// What is known of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It happened, and survives a kill.
    Buffered,
    /// It happened, and so does all before it survive a power cut.
    Durable,
    /// It failed: whether it happened is unknown.
    Unknown,
}

#[derive(Clone, Debug)]
struct Step {
    changes: Vec<Change>,
    standing: Standing,
}

/// The steps since a state that is durable.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    base: Contents,
    steps: Vec<Step>,
}

impl Ledger {
    /// No step yet, on a store that holds `base`, durably.
    pub(super) fn new(base: Contents) -> Self {
        Self { base, steps: Vec::new() }
    }

    /// Notes a step and whether it was acknowledged.
    pub(super) fn note(&mut self, changes: Vec<Change>, durability: Durability, acknowledged: bool) {
        let standing = match (acknowledged, durability) {
            (false, _) => Standing::Unknown,
            (true, Durability::Buffered) => Standing::Buffered,
            (true, Durability::Sync) => Standing::Durable,
        };
        self.steps.push(Step { changes, standing });
    }

    /// Notes that everything before was said to be durable.
    pub(super) fn note_durable(&mut self) {
        self.note(Vec::new(), Durability::Sync, true);
    }

    /// Whether a reader may see `observed` when the process was killed, or goes on; else how it differs.
    pub(super) fn check_after_kill(&self, observed: &Contents) -> Result<(), String> {
        let explained = self.explain(observed, self.steps.len());
        if explained == *observed { Ok(()) } else { Err(difference(observed, &explained)) }
    }

    /// Whether a reader may see `observed` when the power was cut; else how it differs from the last durable state.
    pub(super) fn check_after_power_cut(&self, observed: &Contents) -> Result<(), String> {
        let durable = self.steps.iter().rposition(|step| step.standing == Standing::Durable);
        let from = durable.map_or(0, |last| last + 1);
        if (from..=self.steps.len()).any(|end| self.explain(observed, end) == *observed) {
            return Ok(());
        }
        Err(difference(observed, &self.explain(observed, from)))
    }

    /// The contents after the first `end` steps, where a step of unknown standing counts if `observed` shows it.
    /// No two steps write the same value to a place, so a step that shows has happened, and whether one happened
    /// that does not show, because later ones hide it, makes no difference.
    fn explain(&self, observed: &Contents, end: usize) -> Contents {
        let mut contents = self.base.clone();
        for step in &self.steps[..end] {
            if step.standing != Standing::Unknown || step.shows_in(observed) {
                step.changes.iter().for_each(|change| change.apply(&mut contents));
            }
        }
        contents
    }
}

impl Step {
    fn shows_in(&self, observed: &Contents) -> bool {
        let put_shows =
            |change: &Change| matches!(change, Change::Put(at, value) if observed.get(at) == Some(value));
        if self.changes.iter().any(|change| matches!(change, Change::Put(..))) {
            return self.changes.iter().any(put_shows);
        }
        self.changes.iter().any(|change| match change {
            Change::Put(..) => false,
            Change::Delete(at) => !observed.contains_key(at),
            Change::DropTree(name) => !observed.keys().any(|at| at.0 == *name),
        })
    }
}

/// Everything that a reader of `engine` sees.
pub(super) fn read_everything(engine: &Engine) -> treering::Result<Contents> {
    let mut contents = Contents::new();
    for name in engine.trees()? {
        let Some(tree) = engine.tree(&name)? else { continue };
        if name != treering::DEFAULT_TREE_NAME {
            contents.insert((name.clone(), None), Vec::new());
        }
        for entry in tree.prefix("") {
            let entry = entry?;
            contents.insert((name.clone(), Some(entry.key.to_vec())), entry.value.to_vec());
        }
    }
    Ok(contents)
}

/// How two contents differ, for people.
pub(super) fn difference(found: &Contents, expected: &Contents) -> String {
    let show = |(tree, key): &Place| match key {
        Some(key) => format!("{tree}:{}", key.escape_ascii()),
        None => format!("tree {tree}"),
    };
    let missing =
        expected.keys().filter(|place| !found.contains_key(*place)).map(|p| format!("-{}", show(p)));
    let surplus =
        found.keys().filter(|place| !expected.contains_key(*place)).map(|p| format!("+{}", show(p)));
    let other = found
        .iter()
        .filter(|(place, value)| expected.get(*place).is_some_and(|other| other != *value))
        .map(|(place, _)| format!("≠{}", show(place)));
    let all: Vec<String> = missing.chain(surplus).chain(other).collect();
    let shown = all.iter().take(6).cloned().collect::<Vec<_>>().join(" ");
    format!("{} differences: {shown}", all.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(key: &str) -> Place {
        ("t".into(), Some(key.as_bytes().to_vec()))
    }

    fn put(key: &str) -> Vec<Change> {
        vec![Change::Put(place(key), vec![1])]
    }

    fn seen(keys: &str) -> Contents {
        keys.chars().map(|key| (place(&key.to_string()), vec![1])).collect()
    }

    /// Which of the contents with these keys are allowed after a kill, and which after a power cut.
    fn allowed<'a>(ledger: &Ledger, candidates: &[&'a str]) -> (Vec<&'a str>, Vec<&'a str>) {
        let kill = |keys: &&&str| ledger.check_after_kill(&seen(keys)).is_ok();
        let power = |keys: &&&str| ledger.check_after_power_cut(&seen(keys)).is_ok();
        (
            candidates.iter().filter(kill).copied().collect(),
            candidates.iter().filter(power).copied().collect(),
        )
    }

    const ALL: [&str; 8] = ["", "a", "b", "c", "ab", "ac", "bc", "abc"];

    #[test]
    fn acknowledged_steps_have_happened_and_failed_ones_may_have() {
        let mut ledger = Ledger::new(Contents::new());
        ledger.note(put("a"), Durability::Buffered, true);
        ledger.note(put("b"), Durability::Buffered, false);
        ledger.note(put("c"), Durability::Sync, true);
        assert_eq!(allowed(&ledger, &ALL), (vec!["ac", "abc"], vec!["ac", "abc"]));
    }

    #[test]
    fn a_power_cut_goes_back_to_the_last_durable_acknowledgement_at_most() {
        let mut ledger = Ledger::new(Contents::new());
        ledger.note(put("a"), Durability::Sync, true);
        ledger.note(put("b"), Durability::Buffered, true);
        ledger.note(put("c"), Durability::Sync, false);
        assert_eq!(allowed(&ledger, &ALL), (vec!["ab", "abc"], vec!["a", "ab", "abc"]));
        ledger.note_durable();
        assert_eq!(allowed(&ledger, &ALL).1, ["ab", "abc"]);
        ledger.note(vec![Change::DropTree("t".into())], Durability::Buffered, true);
        assert_eq!(allowed(&ledger, &ALL).0, [""]);
    }

    #[test]
    fn a_step_of_several_changes_is_there_as_a_whole_or_not_at_all() {
        let mut ledger = Ledger::new(seen("c"));
        let batch = [put("a"), put("b"), vec![Change::Delete(place("c"))]].concat();
        ledger.note(batch, Durability::Sync, false);
        assert_eq!(allowed(&ledger, &ALL), (vec!["c", "ab"], vec!["c", "ab"]));
    }
}
