//! What the I/O-error sweep does to a store: each scenario is a store to begin with, and a few steps. The
//! fault falls on one of the operations of the steps, never on those of the preparation.

use std::time::Duration;

use treering::{Durability, WriteOptions};
use treering_sim::SimDisk;

use super::ledger::{Contents, Ledger, read_everything};
use super::session::{Session, environment_of, options};

use Durability::{Buffered, Sync};

/// A store to begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// No store at all.
    Nothing,
    /// Closed cleanly.
    Closed,
    /// The process was killed: some of it is in the log, some in the ring only.
    Killed,
    /// The power was cut: a tail of the log is torn.
    Cut,
    /// As `Closed`, with a manifest that is about to be rolled over.
    Worn,
}

/// A scenario.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) start: Start,
    /// Steps that no fault falls on; they open the store, if it is to be open.
    pub(super) before: fn(&mut Session),
    /// Steps that the fault falls into.
    pub(super) run: fn(&mut Session),
}

const fn scenario(
    name: &'static str,
    start: Start,
    before: fn(&mut Session),
    run: fn(&mut Session),
) -> Scenario {
    Scenario { name, start, before, run }
}

fn nothing(_: &mut Session) {}

fn opened(session: &mut Session) {
    session.open();
}

/// Opened, with writes that the next cut has to take up.
fn dirty(session: &mut Session) {
    session.open();
    for n in 0..12 {
        session.put(&format!("new/{n}"), 60 + n, Buffered);
    }
}

/// As `dirty`, with values in the staging area and in segments of their own.
fn staged(session: &mut Session) {
    dirty(session);
    for n in 0..4 {
        session.put(&format!("staged/{n}"), 700 + 100 * n, Buffered);
    }
    session.put("direct/new", 2600, Buffered);
}

/// As `staged`, with one whole segment of the base dead.
fn dead(session: &mut Session) {
    staged(session);
    for key in ["direct/0", "staged/0", "staged/1", "staged/2"] {
        session.delete(key, Buffered);
    }
}

/// All scenarios.
#[rustfmt::skip]
pub(super) const SCENARIOS: &[Scenario] = &[
    scenario("create", Start::Nothing, nothing, |s| s.open()),
    scenario("create and write", Start::Nothing, nothing, |s| { s.open(); s.put("a", 50, Sync); s.put("b", 900, Buffered); s.close(); }),
    scenario("open after a close", Start::Closed, nothing, |s| { s.open(); s.read(); }),
    scenario("open after a kill", Start::Killed, nothing, |s| { s.open(); s.read(); }),
    scenario("open after a power cut", Start::Cut, nothing, |s| { s.open(); s.read(); }),
    scenario("open twice", Start::Killed, nothing, |s| { s.open(); s.abandon(); s.open(); s.put("again", 40, Sync); }),
    scenario("buffered put", Start::Closed, opened, |s| { s.put("new/a", 100, Buffered); s.put("new/b", 90, Buffered); s.flush(); }),
    scenario("sync put", Start::Closed, opened, |s| { s.put("new/a", 100, Sync); s.put("base/3", 80, Sync); s.put("new/b", 70, Buffered); }),
    scenario("staged value", Start::Closed, opened, |s| { s.put("new/a", 1500, Sync); s.put("staged/1", 800, Buffered); s.flush(); s.read(); }),
    scenario("large value", Start::Closed, opened, |s| { s.put("new/a", 3000, Sync); s.put("direct/0", 2500, Buffered); s.read(); s.flush(); }),
    scenario("condition and expiry", Start::Closed, opened, |s| { s.put_if_absent("new/a", 100, Duration::from_secs(3600)); s.put_if_absent("new/b", 1000, Duration::from_secs(3600)); s.checkpoint(); }),
    scenario("delete", Start::Closed, opened, |s| { s.delete("base/1", Sync); s.delete("staged/1", Buffered); s.delete("direct/0", Sync); }),
    scenario("batch", Start::Closed, opened, |s| { s.batch(&[("new/a", 40), ("new/b", 900), ("new/c", 2600), ("base/2", 50)], "base/5", Sync); s.batch(&[("new/d", 700), ("new/e", 800)], "staged/0", Buffered); s.flush(); }),
    scenario("flush", Start::Killed, dirty, |s| { s.flush(); s.put("after", 30, Buffered); s.flush(); }),
    scenario("cut", Start::Closed, dirty, |s| { s.checkpoint(); s.put("after", 30, Sync); }),
    scenario("cut with destage", Start::Closed, staged, |s| { s.checkpoint(); s.read(); s.put("after", 30, Sync); }),
    scenario("cut that removes a segment", Start::Closed, dead, |s| { s.checkpoint(); s.checkpoint(); s.read(); }),
    scenario("cut after a kill", Start::Killed, opened, |s| { s.checkpoint(); s.put("after", 800, Sync); s.checkpoint(); }),
    scenario("failed cut and the next", Start::Closed, staged, |s| { s.checkpoint(); s.put("after", 900, Sync); s.delete("staged/3", Buffered); s.checkpoint(); s.read(); }),
    scenario("manifest rollover", Start::Worn, dirty, |s| { s.checkpoint(); s.put("after", 30, Sync); s.checkpoint(); }),
    scenario("close", Start::Closed, staged, |s| { s.close(); }),
    scenario("close and open again", Start::Killed, dirty, |s| { s.close(); s.open(); s.read(); s.put("after", 30, Sync); }),
    scenario("background steps", Start::Closed, staged, |s| { s.steps(); s.put("after", 900, Buffered); s.steps(); }),
    scenario("log roll-over", Start::Closed, opened, roll_over),
    scenario("cut forced by the cap", Start::Closed, opened, reach_the_cap),
    scenario("trees", Start::Closed, opened, trees),
    scenario("dropped tree and cut", Start::Closed, opened, |s| { s.drop_tree("other"); s.steps(); s.checkpoint(); s.read(); }),
    scenario("open for reading", Start::Closed, nothing, |s| { s.open_for_reading(); s.read(); s.close(); }),
    scenario("open for reading after a kill", Start::Killed, nothing, |s| { s.open_for_reading(); s.read(); s.close(); }),
    scenario("verify", Start::Closed, nothing, Session::verify),
    scenario("verify after a kill", Start::Killed, nothing, Session::verify),
    scenario("scan", Start::Killed, opened, |s| { s.read(); s.put("after", 20, Sync); s.read(); }),
];

fn roll_over(session: &mut Session) {
    for n in 0..10 {
        session.put(&format!("roll/{n}"), 1900, if n % 4 == 3 { Sync } else { Buffered });
        session.steps();
    }
}

fn reach_the_cap(session: &mut Session) {
    for n in 0..24 {
        session.put(&format!("cap/{}", n % 5), 2000, Buffered);
    }
    session.put("cap/last", 100, Sync);
}

fn trees(session: &mut Session) {
    session.create_tree("fresh");
    session.put_into("fresh", "k", 300, WriteOptions { durability: Some(Sync), ..WriteOptions::default() });
    session.drop_tree("other");
    session.create_tree("other");
    session.steps();
    session.put_into(
        "other",
        "back",
        700,
        WriteOptions { durability: Some(Buffered), ..WriteOptions::default() },
    );
    session.flush();
    session.read();
}

/// The disk that a scenario begins with, and what is known of its contents.
pub(super) fn prepare(start: Start) -> (SimDisk, Ledger) {
    let disk = SimDisk::new(11);
    if start == Start::Nothing {
        return (disk, Ledger::new(Contents::new()));
    }
    let mut session = Session::new(&disk, Ledger::default());
    fill(&mut session);
    let mut left = None;
    match start {
        Start::Nothing | Start::Closed => {
            session.close();
        }
        Start::Worn => left = Some(wear(&mut session, &disk)),
        Start::Killed | Start::Cut => tail(&mut session),
    }
    if start == Start::Cut {
        left = Some(torn(&disk));
    }
    session.abandon();
    let disk = left.unwrap_or_else(|| disk.kill());
    assert!(session.violations.is_empty() && session.errors == 0, "{:?}", session.violations);
    let contents = contents_of(&disk);
    if start == Start::Killed {
        let kept = session.ledger.check_after_kill(&contents);
        assert!(kept.is_ok(), "a kill loses nothing: {kept:?}");
        return (disk, session.ledger);
    }
    (disk, Ledger::new(contents))
}

fn contents_of(disk: &SimDisk) -> Contents {
    let copy = disk.duplicate();
    let mut session = Session::new(&copy, Ledger::default());
    session.open_for_reading();
    session.engine.as_ref().and_then(|engine| read_everything(engine).ok()).expect("the preparation is sound")
}

/// Something of every kind, in frames, segments and a second tree.
fn fill(session: &mut Session) {
    session.open();
    for n in 0..40 {
        session.put(&format!("base/{n}"), 20 + 5 * n, Buffered);
    }
    for n in 0..3 {
        session.put(&format!("staged/{n}"), 600 + n, Buffered);
    }
    session.checkpoint();
    session.create_tree("other");
    for n in 0..6 {
        let how = WriteOptions { durability: Some(Buffered), ..WriteOptions::default() };
        session.put_into("other", &format!("k{n}"), 100 * n, how);
    }
    session.put("direct/0", 2500, Sync);
    session.put("staged/3", 1000, Buffered);
    session.delete("base/7", Buffered);
    session.checkpoint();
}

/// A log behind the last cut: synced, drained, and in the ring alone.
fn tail(session: &mut Session) {
    session.put("tail/a", 300, Sync);
    session.put("tail/b", 900, Sync);
    session.put("tail/c", 2500, Sync);
    session.delete("base/9", Sync);
    session.put("tail/d", 700, Buffered);
    session.put("tail/e", 800, Buffered);
    session.step_once();
    session.put("tail/f", 400, Buffered);
    session.batch(&[("tail/g", 600), ("tail/h", 60)], "base/11", Buffered);
}

/// What a power cut leaves that tears the end of the log.
fn torn(disk: &SimDisk) -> SimDisk {
    let torn = |disk: &SimDisk| {
        let copy = disk.duplicate();
        let opened = treering::Engine::open_in(environment_of(&copy), options().read_only(true));
        opened.and_then(|engine| engine.stats()).is_ok_and(|stats| stats.recovery_records < 8)
    };
    (0..200).map(|seed| disk.after_crash(seed)).find(torn).expect("some power cut tears the tail")
}

/// Cuts until the next one rolls the manifest over.
fn wear(session: &mut Session, disk: &SimDisk) -> SimDisk {
    let manifest_bytes = || disk.bytes_of("MANIFEST").map_or(0, |bytes| bytes.len());
    for n in 0..4000 {
        let (before, bytes_before) = (disk.duplicate(), manifest_bytes());
        session.put("worn", 100 + n % 7, Sync);
        session.checkpoint();
        if manifest_bytes() < bytes_before {
            return before;
        }
    }
    unreachable!("the manifest never rolls over");
}
