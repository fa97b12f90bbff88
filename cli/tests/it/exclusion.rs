//! One writer at a time, and nobody else's eyes: exclusion between processes and the modes of all files.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{Guarded, Home, command};
use crate::run;

/// A process that has the store open for writing and stays so.
fn holder(store: &Path) -> (Guarded, std::process::ChildStdin) {
    let mut holder = command();
    holder.args(["load", "--ack"]).arg(store).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = holder.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let output = child.stdout.take().unwrap();
    let guarded = Guarded(child);
    input.write_all(b"held\tyes\n").unwrap();
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).unwrap();
    assert_eq!(line, "1\n");
    (guarded, input)
}

#[test]
fn a_second_opener_is_refused_until_the_first_is_killed() {
    let home = Home::new();
    let store = home.at("store");
    let (mut first, _input) = holder(&store);
    for _ in 0..2 {
        let sentence = run!("put", &store, "k", "v").fails(3);
        assert!(sentence.contains("open elsewhere"), "{sentence}");
    }
    run!("get", &store, "held").fails(3);
    let link = home.at("link");
    std::os::unix::fs::symlink(home.path(), &link).unwrap();
    run!("put", link.join("store"), "k", "v").fails(3);
    // The engine's patience with a lock is a second, so success is admission within that.
    first.kill();
    run!("put", &store, "k", "v").done();
    assert_eq!(run!("get", &store, "held").done(), "yes");
}

#[test]
fn readers_keep_a_writer_out_only_while_they_read() {
    let home = Home::new();
    let store = home.at("store");
    let (mut first, input) = holder(&store);
    drop(input);
    assert_eq!(first.end().0, Some(0));
    run!("get", &store, "held").done();
    run!("put", &store, "k", "v").done();
}

#[test]
fn every_file_is_for_its_owner_only_under_any_umask() {
    for umask in ["000", "022", "277"] {
        let home = Home::new();
        let store = home.at("store");
        let lines: String =
            (0..200).map(|number| format!("k{number}\t{}\n", "v".repeat(number * 30))).collect();
        std::fs::write(home.at("lines"), lines).unwrap();
        let shell = |arguments: &[&std::ffi::OsStr]| {
            let mut under = Command::new("sh");
            under
                .args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")])
                .arg(env!("CARGO_BIN_EXE_treering"));
            assert!(under.args(arguments).stdout(Stdio::null()).status().unwrap().success());
        };
        let small = ["--frame-bytes=4096", "--ring-bytes=65536", "--log-segment-bytes=65536"]
            .map(std::ffi::OsStr::new);
        shell(&[&["load".as_ref(), store.as_os_str(), home.at("lines").as_os_str()][..], &small].concat());
        shell(&["put".as_ref(), store.as_os_str(), "again".as_ref(), "v".as_ref()]);
        shell(&["checkpoint".as_ref(), store.as_os_str()]);
        let mode = |path: &Path| path.symlink_metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&store), 0o700, "umask {umask}");
        let mut files = 0;
        for entry in std::fs::read_dir(&store).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{} under umask {umask}", path.display());
            files += 1;
        }
        assert!(files >= 5, "{files} files");
    }
}
