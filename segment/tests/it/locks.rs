//! The store's lock, from the same process, through links, from another process and after fork.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use treering_segment::file::FileStorage;
use treering_segment::memory::MemoryStorage;
use treering_segment::storage::{Access, LockError, LockKind, Storage, StorageLock};

const CHILD: &str = "TREERING_TEST_LOCK_DIRECTORY";

/// Long enough that only a lost wake-up or a lock that is never freed can use it up.
const PATIENCE: Duration = Duration::from_secs(60);

fn take(storage: &dyn Storage, kind: LockKind) -> Result<Box<dyn StorageLock>, LockError> {
    storage.lock("LOCK", kind, Duration::ZERO)
}

fn holder(result: Result<Box<dyn StorageLock>, LockError>) -> Option<u32> {
    match result {
        Err(LockError::Held { holder, path }) => {
            assert!(path.ends_with("LOCK"));
            holder
        }
        other => panic!("expected a held lock, not {other:?}"),
    }
}

/// A child that takes the lock, says so, and holds it until its input ends.
fn child_with_lock(directory: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "locks::child_holds_the_lock", "--nocapture"])
        .env(CHILD, directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.as_mut().unwrap());
    assert!(output.lines().map_while(Result::ok).any(|line| line.contains("lock taken")));
    child
}

/// Does its work only in a child of other tests.
#[test]
fn child_holds_the_lock() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let storage = FileStorage::open(path).unwrap();
    let _lock = take(&storage, LockKind::Exclusive).unwrap();
    println!("\nlock taken");
    std::io::stdout().flush().unwrap();
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn lock_is_refused_to_the_same_process_under_another_path() {
    let home = tempfile::tempdir().unwrap();
    let storage = FileStorage::create(home.path().join("store")).unwrap();
    let _lock = take(&storage, LockKind::Exclusive).unwrap();
    std::os::unix::fs::symlink(home.path(), home.path().join("link")).unwrap();
    let linked = FileStorage::open(home.path().join("link/store")).unwrap();
    assert_eq!(holder(take(&linked, LockKind::Exclusive)), Some(std::process::id()));
    assert_eq!(holder(take(&linked, LockKind::Shared)), Some(std::process::id()));
    std::fs::hard_link(home.path().join("store/LOCK"), home.path().join("store/ALIAS")).unwrap();
    let aliased = storage.lock("ALIAS", LockKind::Exclusive, Duration::ZERO);
    assert!(matches!(aliased, Err(LockError::Held { .. })));
}

#[test]
fn another_process_is_refused_and_named() {
    let home = tempfile::tempdir().unwrap();
    let mut child = child_with_lock(home.path());
    let storage = FileStorage::open(home.path()).unwrap();
    assert_eq!(holder(take(&storage, LockKind::Exclusive)), Some(child.id()));
    assert_eq!(holder(take(&storage, LockKind::Shared)), Some(child.id()));
    drop(child.stdin.take());
    storage.lock("LOCK", LockKind::Exclusive, PATIENCE).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn forked_child_neither_has_the_lock_nor_loses_it_for_its_parent() {
    let home = tempfile::tempdir().unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "locks::child_holds_the_lock_and_forks"])
        .env(CHILD, home.path())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
}

/// Does its work only in a child of the test above: a process of its own, so that no other test's thread
/// holds a lock at the moment of the fork.
#[test]
fn child_holds_the_lock_and_forks() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let storage = FileStorage::open(&path).unwrap();
    let lock = take(&storage, LockKind::Exclusive).unwrap();
    let parent = std::process::id();
    let mut command = Command::new("true");
    let in_the_fork = move || {
        let refused = holder(take(&storage, LockKind::Exclusive)) == Some(parent);
        drop(storage.open("LOCK", Access::Read));
        if refused { Ok(()) } else { Err(std::io::ErrorKind::Other.into()) }
    };
    #[expect(unsafe_code, reason = "the one way to run code in a forked child")]
    // SAFETY: the closure allocates and locks, which is fine after a fork of a process whose other thread
    // only waits for this test to end.
    unsafe {
        std::os::unix::process::CommandExt::pre_exec(&mut command, in_the_fork);
    }
    assert!(command.status().unwrap().success(), "the fork was refused, and named its parent");
    assert!(!another_process_gets_it(Path::new(&path)), "the parent still has the lock");
    drop(lock);
    assert!(another_process_gets_it(Path::new(&path)));
}

#[test]
fn killed_holder_leaves_the_lock_free() {
    let home = tempfile::tempdir().unwrap();
    let mut child = child_with_lock(home.path());
    child.kill().unwrap();
    child.wait().unwrap();
    take(&FileStorage::open(home.path()).unwrap(), LockKind::Exclusive).unwrap();
}

/// Closing any descriptor of a file drops the process's POSIX locks on it; the back end must not.
#[test]
fn opening_the_lock_file_does_not_lose_the_lock() {
    let home = tempfile::tempdir().unwrap();
    let storage = FileStorage::open(home.path()).unwrap();
    let lock = take(&storage, LockKind::Exclusive).unwrap();
    storage.open("LOCK", Access::Read).unwrap_err();
    take(&storage, LockKind::Exclusive).unwrap_err();
    assert!(!another_process_gets_it(home.path()));
    drop(lock);
    assert!(another_process_gets_it(home.path()));
}

fn another_process_gets_it(directory: &Path) -> bool {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "locks::child_holds_the_lock"])
        .env(CHILD, directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.unwrap().success()
}

#[test]
fn waiting_for_a_lock_ends_when_it_is_let_go() {
    let home = tempfile::tempdir().unwrap();
    let memory = MemoryStorage::new();
    let file = FileStorage::open(home.path()).unwrap();
    // Again and again, so that some waiters are asleep already and some are not.
    let rounds = std::iter::repeat_n(&memory as &dyn Storage, 500).chain([&file as &dyn Storage]);
    for storage in rounds {
        let lock = take(storage, LockKind::Exclusive).unwrap();
        thread::scope(|scope| {
            let (started, starts) = mpsc::channel();
            let waiter = scope.spawn(move || {
                started.send(()).unwrap();
                storage.lock("LOCK", LockKind::Exclusive, PATIENCE).map(drop)
            });
            starts.recv().unwrap();
            drop(lock);
            waiter.join().unwrap().unwrap();
        });
    }
}

#[test]
fn lock_file_replaced_by_another_is_another_lock() {
    let home = tempfile::tempdir().unwrap();
    let storage = FileStorage::open(home.path()).unwrap();
    let first = take(&storage, LockKind::Exclusive).unwrap();
    storage.rename("LOCK", "moved").unwrap();
    let second = take(&storage, LockKind::Exclusive).unwrap();
    let moved = storage.lock("moved", LockKind::Exclusive, Duration::ZERO);
    assert!(matches!(moved, Err(LockError::Held { .. })));
    drop(first);
    storage.lock("moved", LockKind::Exclusive, Duration::ZERO).unwrap();
    take(&storage, LockKind::Exclusive).unwrap_err();
    drop(second);
}
