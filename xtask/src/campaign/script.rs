//! What happens in a round, as data: drawn from a seed once, then only replayed, so that a shrinker can
//! take pieces out without shifting the rest. Nothing here touches a store.
//!
//! Every round draws its own weights (*swarm testing*, Groce et al., 2012): some rounds never delete, some
//! sync every write, some do little but take cuts.

use std::fmt;

use treering_sim::Random;

/// A value: its bytes follow from the seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) seed: u64,
    pub(crate) bytes: usize,
}

/// Which tree: 0 is the default one, the others have to be created.
pub(crate) type TreeNumber = u8;
/// Trees of a store at most.
pub(crate) const TREES: u8 = 4;

/// What must hold for a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Require {
    Nothing,
    Absent,
    /// The version that the key has.
    Current,
    /// A version that it does not have.
    Stale,
}

/// One change in a batch; no value deletes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) tree: TreeNumber,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<Value>,
    pub(crate) ttl_ms: Option<u64>,
}

/// One thing to do with an open store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Put {
        part: Part,
        require: Require,
        sync: bool,
    },
    Delete {
        tree: TreeNumber,
        key: Vec<u8>,
        require: Require,
        sync: bool,
    },
    Batch {
        parts: Vec<Part>,
        sync: bool,
    },
    Get {
        tree: TreeNumber,
        key: Vec<u8>,
    },
    Compare,
    CreateTree(TreeNumber),
    DropTree(TreeNumber),
    Step(u8),
    Checkpoint,
    /// A checkpoint in the middle of which, before the `after`-th operation on its files, others write: one by
    /// one, or as one batch.
    CheckpointAmid {
        after: u64,
        parts: Vec<Part>,
        together: bool,
        sync: bool,
    },
    /// The disk gets full: there are so many bytes left; or there is space again.
    Space(Option<u64>),
    Flush,
    Reopen,
    Wait(u64),
    /// From here on the `after`-th operation of the disk fails, once or until the next reopening.
    Fault {
        kind: Trouble,
        after: u64,
        lasting: bool,
    },
}

/// A disk that fails and lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    InputOutput,
    NoSpace,
    Interrupted,
    ShortCount,
    FailedSync,
}

/// Troubles as they are drawn; a lack of space, which must not end the store, more often than others.
const TROUBLES: [Trouble; 6] = [
    Trouble::InputOutput,
    Trouble::NoSpace,
    Trouble::NoSpace,
    Trouble::Interrupted,
    Trouble::ShortCount,
    Trouble::FailedSync,
];

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// `kill -9`: the page cache and the shared mapping stay.
    Kill,
    /// Power loss: what was not synced is kept, lost or torn as the seed has it.
    Power(u64),
}

/// A death during the `after`-th disk operation from some point on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Death {
    pub(crate) after: u64,
    pub(crate) how: How,
}

/// One life of the store's process and the attempts at recovery that follow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Generation {
    pub(crate) actions: Vec<Action>,
    /// The action from whose start the death's disk operations are counted; past the end, the process ends
    /// between two operations.
    pub(crate) dies_in: usize,
    pub(crate) death: Death,
    /// Deaths in the recoveries that follow; a recovery that needs fewer operations survives.
    pub(crate) nested: Vec<Death>,
    /// Whether the remains are looked at by a read-only open before the writing one.
    pub(crate) inspect: bool,
}

/// All of a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Script {
    pub(crate) seed: u64,
    pub(crate) log_cap_bytes: u64,
    pub(crate) staging_limit: u64,
    pub(crate) inline_limit: usize,
    pub(crate) sync_by_default: bool,
    /// Whether the file system can map files.
    pub(crate) maps: bool,
    /// A death during the very creation of the store.
    pub(crate) creation: Option<Death>,
    pub(crate) generations: Vec<Generation>,
}

/// How much a round does at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) generations_max: usize,
    pub(crate) actions_max: usize,
}

impl Script {
    /// The script that belongs to `seed`.
    pub(crate) fn draw(seed: u64, size: Size) -> Script {
        let mut random = Random::new(seed ^ 0x7265_6572_696e_6721);
        let mut swarm = Swarm::draw(&mut random);
        let log_cap_bytes = [64 << 10, 64 << 10, 96 << 10, 256 << 10][random.index(4)];
        let staging_limit = [4 << 10, 16 << 10, 64 << 10][random.index(3)];
        let inline_limit = [16, 128, 512][random.index(3)];
        let sync_by_default = random.percent(25);
        let maps = random.percent(92);
        let creation = random.percent(15).then(|| Death { after: random.below(40), how: how(&mut random) });
        let generations = 1 + random.index(size.generations_max);
        let generations = (0..generations).map(|_| swarm.generation(&mut random, size.actions_max)).collect();
        Script {
            seed,
            log_cap_bytes,
            staging_limit,
            inline_limit,
            sync_by_default,
            maps,
            creation,
            generations,
        }
    }
}

fn how(random: &mut Random) -> How {
    if random.percent(35) { How::Kill } else { How::Power(random.next_u64()) }
}

/// What a round's actions are like.
struct Swarm {
    weights: [u64; 14],
    marathon: bool,
    keys: u64,
    long_keys: bool,
    sync_percent: u64,
    require_percent: u64,
    ttl_percent: u64,
    large_percent: u64,
    trees: u8,
}

impl Swarm {
    fn draw(random: &mut Random) -> Swarm {
        let usual: [u64; 14] = [50, 14, 10, 6, 1, 1, 1, 8, 6, 4, 1, 3, 1, 2];
        let mut weights = usual;
        for weight in &mut weights[1..] {
            *weight *= [0, 1, 1, 1, 2, 5][random.index(6)];
        }
        // A few long rounds do little but take cuts, so that the manifest grows until it is written anew.
        let marathon = random.percent(2);
        if marathon {
            weights[8] = 60;
        }
        // Most rounds have a disk that works; they see deaths only.
        if random.percent(75) {
            weights[12] = 0;
        }
        if random.percent(80) {
            weights[13] = 0;
        }
        Swarm {
            weights,
            marathon,
            keys: [3, 20, 60, 200][random.index(4)],
            long_keys: random.percent(30),
            sync_percent: [0, 10, 30, 100][random.index(4)],
            require_percent: [0, 10, 40][random.index(3)],
            ttl_percent: [0, 0, 10, 40][random.index(4)],
            large_percent: [0, 5, 20, 50][random.index(4)],
            trees: 1 + u8::try_from(random.below(u64::from(TREES))).unwrap_or(0),
        }
    }

    fn generation(&mut self, random: &mut Random, actions_max: usize) -> Generation {
        let count = 1 + random.index(if self.marathon { 6 * actions_max } else { actions_max });
        let actions: Vec<Action> = (0..count).map(|_| self.action(random)).collect();
        let dies_in = if random.percent(15) {
            actions.len()
        } else {
            let heavy = |action: &Action| {
                matches!(
                    action,
                    Action::Checkpoint
                        | Action::CheckpointAmid { .. }
                        | Action::Reopen
                        | Action::Flush
                        | Action::Step(_)
                        | Action::DropTree(_)
                )
            };
            let candidates: Vec<usize> = (0..actions.len()).filter(|index| heavy(&actions[*index])).collect();
            if candidates.is_empty() || random.percent(40) {
                random.index(actions.len())
            } else {
                candidates[random.index(candidates.len())]
            }
        };
        let after = if random.percent(50) { random.below(12) } else { random.below(60) };
        let death = Death { after, how: how(random) };
        let mut nested = Vec::new();
        while random.percent(35) && nested.len() < 4 {
            nested.push(Death { after: random.below(80), how: how(random) });
        }
        Generation { actions, dies_in, death, nested, inspect: random.percent(40) }
    }

    fn action(&mut self, random: &mut Random) -> Action {
        let mut at = random.below(self.weights.iter().sum());
        let mut kind = 0;
        while at >= self.weights[kind] {
            at -= self.weights[kind];
            kind += 1;
        }
        match kind {
            0 => Action::Put {
                part: self.put(random),
                require: self.require(random),
                sync: random.percent(self.sync_percent),
            },
            1 => Action::Delete {
                tree: self.tree(random),
                key: self.key(random),
                require: self.require(random),
                sync: random.percent(self.sync_percent),
            },
            2 => self.batch(random),
            3 => Action::Get { tree: self.tree(random), key: self.key(random) },
            4 => Action::Compare,
            5 => Action::CreateTree(self.tree(random)),
            6 => Action::DropTree(self.tree(random)),
            7 => Action::Step(1 + u8::try_from(random.below(4)).unwrap_or(0)),
            8 if random.percent(60) => self.checkpoint_amid(random),
            8 => Action::Checkpoint,
            9 => Action::Flush,
            10 => Action::Reopen,
            11 => Action::Wait(1 + random.below(3000)),
            13 => Action::Space(random.percent(60).then(|| random.below(40 << 10))),
            _ => Action::Fault {
                kind: TROUBLES[random.index(TROUBLES.len())],
                after: random.below(30),
                lasting: random.percent(30),
            },
        }
    }

    fn batch(&mut self, random: &mut Random) -> Action {
        let most = [3, 8, 30][random.index(3)];
        let count = 1 + random.index(most);
        let parts = (0..count)
            .map(|_| {
                let part = self.put(random);
                if random.percent(70) { part } else { Part { value: None, ttl_ms: None, ..part } }
            })
            .collect();
        Action::Batch { parts, sync: random.percent(self.sync_percent) }
    }

    fn checkpoint_amid(&mut self, random: &mut Random) -> Action {
        let parts = (0..1 + random.index(8))
            .map(|_| {
                let bytes_max = [8, 130, 700, 2200][random.index(4)];
                let bytes = random.index(bytes_max);
                let value = random.percent(75).then(|| Value { seed: random.next_u64(), bytes });
                Part { tree: self.tree(random), key: self.key(random), value, ttl_ms: None }
            })
            .collect();
        let together = random.percent(20);
        Action::CheckpointAmid { after: random.below(20), parts, together, sync: random.percent(30) }
    }

    fn put(&mut self, random: &mut Random) -> Part {
        let ttl_ms = random.percent(self.ttl_percent).then(|| 1 + random.below(10_000));
        Part { tree: self.tree(random), key: self.key(random), value: Some(self.value(random)), ttl_ms }
    }

    fn require(&self, random: &mut Random) -> Require {
        if !random.percent(self.require_percent) {
            return Require::Nothing;
        }
        [Require::Absent, Require::Current, Require::Current, Require::Stale][random.index(4)]
    }

    fn tree(&self, random: &mut Random) -> TreeNumber {
        if random.percent(60) { 0 } else { u8::try_from(random.below(u64::from(self.trees))).unwrap_or(0) }
    }

    fn value(&self, random: &mut Random) -> Value {
        let bytes = if random.percent(self.large_percent) {
            let most = [600, 2048, 2049, 6000][random.index(4)];
            most - random.index(300)
        } else {
            let bound = [8, 60, 130, 513][random.index(4)];
            random.index(bound)
        };
        Value { seed: random.next_u64(), bytes }
    }

    fn key(&self, random: &mut Random) -> Vec<u8> {
        let number = random.below(self.keys);
        let mut shape = Random::new(number ^ 0x6b65_7973);
        match shape.below(6) {
            0 => shape_bytes(&mut shape, 5),
            1 if self.long_keys => {
                let mut key = vec![b'a'; 500 + shape.index(5)];
                key.extend_from_slice(&number.to_le_bytes()[..2]);
                key
            }
            2 => format!("usr/lib/{}/file-{number}", shape.below(5)).into_bytes(),
            3 => format!("usr/{}/{}/x{number}", shape.below(3), shape.below(3)).into_bytes(),
            _ => format!("k{number}").into_bytes(),
        }
    }
}

/// Short keys of few different bytes, which are prefixes of each other.
fn shape_bytes(shape: &mut Random, max: u64) -> Vec<u8> {
    const ODD: [u8; 4] = [0, b'/', b'a', 0xff];
    (0..shape.below(max)).map(|_| ODD[shape.index(ODD.len())]).collect()
}

impl Value {
    /// The bytes.
    pub(crate) fn expand(self) -> Vec<u8> {
        let mut bytes = vec![0; self.bytes];
        Random::new(self.seed).fill(&mut bytes);
        bytes
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:\"{}\"", self.tree, self.key.escape_ascii())?;
        match self.value {
            Some(value) => write!(f, " = {} bytes", value.bytes)?,
            None => f.write_str(" deleted")?,
        }
        self.ttl_ms.map_or(Ok(()), |ttl| write!(f, " for {ttl} ms"))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let durability = |sync: bool| if sync { ", sync" } else { "" };
        let required = |require: &Require| match require {
            Require::Nothing => "",
            Require::Absent => ", if absent",
            Require::Current => ", if current",
            Require::Stale => ", if of a stale version",
        };
        match self {
            Action::Put { part, require, sync } => {
                write!(f, "put {part}{}{}", required(require), durability(*sync))
            }
            Action::Delete { tree, key, require, sync } => {
                write!(
                    f,
                    "delete {tree}:\"{}\"{}{}",
                    key.escape_ascii(),
                    required(require),
                    durability(*sync)
                )
            }
            Action::Batch { parts, sync } => {
                write!(f, "batch of {}{}", parts.len(), durability(*sync))?;
                parts.iter().try_for_each(|part| write!(f, "; {part}"))
            }
            Action::Get { tree, key } => write!(f, "get {tree}:\"{}\"", key.escape_ascii()),
            Action::Compare => f.write_str("compare everything"),
            Action::CreateTree(tree) => write!(f, "create tree {tree}"),
            Action::DropTree(tree) => write!(f, "drop tree {tree}"),
            Action::Step(count) => write!(f, "step {count} times"),
            Action::Checkpoint => f.write_str("checkpoint"),
            Action::CheckpointAmid { after, parts, together, sync } => {
                let how = if *together { " in one batch" } else { "" };
                write!(f, "checkpoint, and before its operation +{after}{how}{}", durability(*sync))?;
                parts.iter().try_for_each(|part| write!(f, "; {part}"))
            }
            Action::Space(Some(left)) => write!(f, "the disk has {left} bytes left"),
            Action::Space(None) => f.write_str("the disk has space again"),
            Action::Flush => f.write_str("flush"),
            Action::Reopen => f.write_str("close and reopen"),
            Action::Wait(ms) => write!(f, "wait {ms} ms"),
            Action::Fault { kind, after, lasting } => {
                let how = if *lasting { "from disk operation" } else { "at disk operation" };
                write!(f, "the disk fails with {kind:?} {how} +{after}")
            }
        }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.how {
            How::Kill => write!(f, "killed"),
            How::Power(seed) => write!(f, "power lost (outcome {seed:#x})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_script_and_another_seed_another() {
        let size = Size { generations_max: 5, actions_max: 40 };
        assert_eq!(Script::draw(7, size), Script::draw(7, size));
        assert_ne!(Script::draw(7, size), Script::draw(8, size));
    }
}
