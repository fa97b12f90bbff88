//! Makes a failing script smaller as long as it still fails, with any error: pieces are taken out, large
//! ones first, then what is left is made simpler.

use super::perform;
use super::script::{Action, Script};

/// Attempts at most: a bound on time, not on quality.
const ATTEMPTS_MAX: usize = 3000;

/// A smaller script that fails, too; at worst the same.
pub(super) fn shrink(script: Script) -> Script {
    let mut best = Best { script, attempts: 0 };
    loop {
        let before = best.script.clone();
        best.drop_generations();
        best.drop_actions();
        best.simplify();
        if best.script == before || best.attempts >= ATTEMPTS_MAX {
            return best.script;
        }
    }
}

struct Best {
    script: Script,
    attempts: usize,
}

impl Best {
    /// Takes `change`d as the best if it fails and differs.
    fn try_out(&mut self, change: impl FnOnce(&mut Script)) -> bool {
        let mut candidate = self.script.clone();
        change(&mut candidate);
        if candidate == self.script || self.attempts >= ATTEMPTS_MAX {
            return false;
        }
        self.attempts += 1;
        let fails = perform(&candidate, None).is_err();
        if fails {
            self.script = candidate;
        }
        fails
    }

    fn drop_generations(&mut self) {
        let mut index = self.script.generations.len();
        while index > 0 {
            index -= 1;
            self.try_out(|script| drop(script.generations.remove(index)));
        }
        self.try_out(|script| script.creation = None);
    }

    /// Takes runs of actions out, ever shorter ones.
    fn drop_actions(&mut self) {
        for life in 0..self.script.generations.len() {
            let mut run = self.script.generations[life].actions.len();
            while run > 0 {
                let mut start = 0;
                while start + run <= self.script.generations[life].actions.len() {
                    let dropped = self.try_out(|script| {
                        let generation = &mut script.generations[life];
                        generation.actions.drain(start..start + run);
                        if generation.dies_in >= start + run {
                            generation.dies_in -= run;
                        } else {
                            generation.dies_in = generation.dies_in.min(start);
                        }
                    });
                    if !dropped {
                        start += run;
                    }
                }
                run /= 2;
            }
        }
    }

    fn simplify(&mut self) {
        for life in 0..self.script.generations.len() {
            for nested in (0..self.script.generations[life].nested.len()).rev() {
                self.try_out(|script| {
                    script.generations[life].nested.remove(nested);
                });
            }
            self.try_out(|script| script.generations[life].inspect = false);
            for action in 0..self.script.generations[life].actions.len() {
                self.simplify_action(life, action);
            }
        }
    }

    fn simplify_action(&mut self, life: usize, action: usize) {
        let parts = match &self.script.generations[life].actions[action] {
            Action::Batch { parts, .. } | Action::CheckpointAmid { parts, .. } => parts.len(),
            _ => 0,
        };
        for part in (0..parts).rev() {
            self.try_out(|script| {
                if let Action::Batch { parts, .. } | Action::CheckpointAmid { parts, .. } =
                    &mut script.generations[life].actions[action]
                {
                    parts.remove(part);
                }
            });
        }
        self.try_out(|script| {
            if let Action::Put { part, .. } = &mut script.generations[life].actions[action]
                && let Some(value) = &mut part.value
            {
                value.bytes = value.bytes.min(1);
            }
        });
    }
}
