//! What the file back end promises beyond the contract: permissions, links, special files.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use treering_segment::file::FileStorage;
use treering_segment::storage::{Access, LockKind, Storage};

const CHILD: &str = "TREERING_TEST_CHILD_DIRECTORY";

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn directory_is_created_once_and_opened_ever_after() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("store");
    assert!(FileStorage::open(&path).unwrap_err().is_not_found());
    FileStorage::create(&path).unwrap().create("f").unwrap();
    let again = FileStorage::create(&path).unwrap();
    assert_eq!(again.list().unwrap(), ["f"]);
    assert_eq!(FileStorage::open(&path).unwrap().path_of("f"), path.join("f"));
    assert!(FileStorage::create(home.path().join("no/such")).unwrap_err().is_not_found());
    fs::write(home.path().join("file"), b"").unwrap();
    FileStorage::create(home.path().join("file")).unwrap_err();
}

#[test]
fn linked_directory_is_refused_as_last_component_only() {
    let home = tempfile::tempdir().unwrap();
    let store = home.path().join("real/store");
    fs::create_dir(home.path().join("real")).unwrap();
    FileStorage::create(&store).unwrap();
    symlink(&store, home.path().join("link")).unwrap();
    for path in ["link", "link/", "link/."] {
        let failure = FileStorage::open(home.path().join(path)).unwrap_err();
        assert!(failure.to_string().contains("symbolic link"), "{path}: {failure}");
        FileStorage::create(home.path().join(path)).unwrap_err();
    }
    symlink(home.path().join("real"), home.path().join("parent")).unwrap();
    FileStorage::open(home.path().join("parent/store")).unwrap();
}

#[test]
fn only_regular_files_are_opened_and_links_are_not_followed() {
    let home = tempfile::tempdir().unwrap();
    let storage = FileStorage::open(home.path()).unwrap();
    fs::write(home.path().join("target"), b"secret").unwrap();
    symlink(home.path().join("target"), home.path().join("link")).unwrap();
    symlink(home.path().join("nowhere"), home.path().join("dangling")).unwrap();
    fs::create_dir(home.path().join("directory")).unwrap();
    assert!(Command::new("mkfifo").arg(home.path().join("fifo")).status().unwrap().success());
    for name in ["link", "dangling", "directory", "fifo"] {
        for access in [Access::Read, Access::ReadWrite] {
            storage.open(name, access).unwrap_err();
        }
        storage.create(name).unwrap_err();
        storage.lock(name, LockKind::Exclusive, std::time::Duration::ZERO).unwrap_err();
    }
    assert!(!home.path().join("nowhere").exists());
    assert_eq!(storage.list().unwrap(), ["dangling", "fifo", "link", "target"]);
}

#[test]
fn store_follows_its_directory_when_that_is_renamed() {
    let home = tempfile::tempdir().unwrap();
    let storage = FileStorage::create(home.path().join("before")).unwrap();
    fs::rename(home.path().join("before"), home.path().join("after")).unwrap();
    storage.create("f").unwrap();
    storage.sync_directory().unwrap();
    assert!(home.path().join("after/f").exists());
}

/// The umask is the process's own, so that a child has to set it.
#[test]
fn files_are_private_under_any_umask() {
    let program = std::env::current_exe().unwrap();
    for umask in ["0000", "0777", "0277"] {
        let home = tempfile::tempdir().unwrap();
        let store = home.path().join("store");
        let status = Command::new("sh")
            .args(["-c", &format!("umask {umask} && exec \"$0\" \"$@\"")])
            .arg(&program)
            .args(["--exact", "files::child_creates_under_an_umask"])
            .env(CHILD, &store)
            .status()
            .unwrap();
        assert!(status.success(), "umask {umask}");
        assert_eq!(mode(&store), 0o700, "umask {umask}");
        assert_eq!(mode(&store.join("f")), 0o600, "umask {umask}");
        assert_eq!(mode(&store.join("LOCK")), 0o600, "umask {umask}");
    }
}

/// Does its work only in a child of `files_are_private_under_any_umask`, with an umask of its own.
#[test]
fn child_creates_under_an_umask() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let storage = FileStorage::create(path).unwrap();
    storage.create("f").unwrap();
    storage.lock("LOCK", LockKind::Exclusive, std::time::Duration::ZERO).unwrap();
}

#[test]
fn allocated_space_is_really_there() {
    let home = tempfile::tempdir().unwrap();
    let storage = FileStorage::open(home.path()).unwrap();
    let file = storage.create("f").unwrap();
    file.allocate(0, 1 << 20).unwrap();
    let blocks = fs::metadata(home.path().join("f")).unwrap().blocks();
    assert!(blocks * 512 >= 1 << 20, "{blocks} blocks");
}
