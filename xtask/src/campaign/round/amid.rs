//! A checkpoint with writers in its middle: what they do, and what came of it in the model.

use std::sync::{Arc, Mutex, PoisonError};

use treering::{Durability, Engine, Error, Tree, WriteOptions};
use treering_sim::SimDisk;

use super::super::model::Change;
use super::super::script::Part;
use super::{Life, RECORD_HEADER, Round};

/// What a write in the middle of a cut did.
enum Written {
    Put(u64),
    Deleted(bool),
}

/// A write in the middle of a cut.
struct Amid {
    parts: Vec<Part>,
    outcome: Result<Written, Error>,
    /// Whether the disk was alive when it returned.
    alive: bool,
}

/// Those who write in the middle of a cut.
struct Writers {
    engine: Engine,
    disk: SimDisk,
    writers: Vec<(Tree, Part)>,
    sync: bool,
}

impl Writers {
    /// Writes until something fails.
    fn write(self, together: bool) -> Vec<Amid> {
        let durability = self.sync.then_some(Durability::Sync);
        if together && !self.writers.is_empty() {
            let mut batch = self.engine.batch();
            let mut parts = Vec::new();
            for (tree, part) in self.writers {
                match part.value {
                    Some(value) => batch.put(&tree, &part.key, value.expand()),
                    None => batch.delete(&tree, &part.key),
                };
                parts.push(part);
            }
            let outcome = batch.commit(durability).map(Written::Put);
            return vec![Amid { parts, outcome, alive: !self.disk.is_dead() }];
        }
        let mut done = Vec::new();
        let how = WriteOptions { durability, ..WriteOptions::default() };
        for (tree, part) in self.writers {
            let outcome = match part.value {
                Some(value) => tree.put_with(&part.key, value.expand(), &how).map(Written::Put),
                None => tree.delete_with(&part.key, &how).map(Written::Deleted),
            };
            let failed = outcome.is_err();
            done.push(Amid { parts: vec![part], outcome, alive: !self.disk.is_dead() });
            if failed {
                break;
            }
        }
        done
    }
}

impl Round<'_> {
    /// A checkpoint with writers in its middle, as far as log and staging have room for them: a writer that
    /// needed a cut for room would wait for the one under way.
    pub(super) fn checkpoint_amid(
        &mut self,
        after: u64,
        parts: &[Part],
        together: bool,
        sync: bool,
    ) -> Result<Life, String> {
        let engine = self.engine()?.clone();
        let bytes: usize =
            parts.iter().map(|part| part.key.len() + 200 + part.value.map_or(0, |v| v.bytes)).sum();
        let room = |used: u64, of: u64| used + bytes as u64 <= of;
        let fits = engine.stats().is_ok_and(|stats| {
            room(stats.log_bytes + RECORD_HEADER * 8, self.script.log_cap_bytes)
                && room(stats.staged_bytes, self.script.staging_limit)
        });
        let written: Arc<Mutex<Vec<Amid>>> = Arc::default();
        if fits && !self.faulty && !self.full {
            let mut writers = Vec::new();
            for part in parts {
                writers.extend(self.tree(part.tree)?.map(|tree| (tree, part.clone())));
            }
            let amid = Writers { engine: engine.clone(), disk: self.disk.clone(), writers, sync };
            let into = Arc::clone(&written);
            let act =
                move || into.lock().unwrap_or_else(PoisonError::into_inner).extend(amid.write(together));
            self.interlude.plan(after, Box::new(act));
        }
        let outcome = engine.checkpoint().map(drop);
        self.interlude.cancel();
        let mut life = self.durably(outcome)?;
        let written = std::mem::take(&mut *written.lock().unwrap_or_else(PoisonError::into_inner));
        for Amid { parts, outcome, alive } in written {
            self.say(|| format!("     amid it: {} written: {}", parts.len(), outcome.is_ok()));
            if self.amid(parts, outcome, alive, sync)? != Life::GoesOn {
                life = Life::Died;
            }
        }
        Ok(life)
    }

    /// What a write in the middle of a cut came to, in the model.
    fn amid(
        &mut self,
        parts: Vec<Part>,
        outcome: Result<Written, Error>,
        alive: bool,
        sync: bool,
    ) -> Result<Life, String> {
        let changes: Vec<Change> = parts.iter().map(|part| self.change(part)).collect();
        let version = match outcome {
            Err(error) => return self.written(changes, Err(error), true, sync),
            Ok(Written::Put(version)) => Some(version),
            Ok(Written::Deleted(deleted)) => {
                let place = (parts[0].tree, parts[0].key.clone());
                let there = self.model.newest.records.contains_key(&place);
                if !deleted {
                    return if there { self.model.expire(&place, self.now()) } else { Ok(()) }
                        .map(|()| Life::GoesOn);
                }
                if !there {
                    return Err("a delete in the middle of a cut has deleted what was not there".to_owned());
                }
                None
            }
        };
        self.model.submit(changes, version)?;
        match (alive, sync || self.script.sync_by_default) {
            (true, true) if !self.disk.is_dead() => self.made_durable()?,
            (true, true) => self.model.make_durable(),
            (true, false) => self.model.acknowledge(),
            (false, _) => {}
        }
        Ok(if alive { Life::GoesOn } else { Life::Died })
    }
}
