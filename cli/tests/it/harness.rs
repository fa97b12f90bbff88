//! Running the command and making things for it to work on.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use fastrand::Rng;

/// What a finished process left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Ran {
    /// Standard output, of a process that must have succeeded.
    #[track_caller]
    pub(crate) fn done(self) -> String {
        assert_eq!(self.code, 0, "{}", self.err);
        String::from_utf8(self.out).unwrap()
    }

    /// Standard error in one sentence, of a process that must have ended with `code`.
    #[track_caller]
    pub(crate) fn fails(self, code: i32) -> String {
        assert_eq!(self.code, code, "out: {}\nerr: {}", String::from_utf8_lossy(&self.out), self.err);
        self.err
    }
}

/// The command, to be given arguments.
pub(crate) fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_treering"))
}

/// Runs the command to its end.
pub(crate) fn treering<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Ran {
    fed(arguments, b"")
}

/// Runs the command with `input` as its standard input.
pub(crate) fn fed<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>, input: &[u8]) -> Ran {
    let mut command = command();
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // A process that does not read its input may close it early.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap()
    });
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: output.stdout,
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Arguments of different types as one list.
#[macro_export]
macro_rules! run {
    ($($argument:expr),* $(,)?) => {
        $crate::harness::treering([$(std::ffi::OsString::from($argument)),*])
    };
}

/// A temporary directory.
pub(crate) struct Home(tempfile::TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// A path in it.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// A child that does not outlive the test.
pub(crate) struct Guarded(pub(crate) Child);

impl Guarded {
    /// Sends SIGKILL; does not wait.
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
    }

    /// Waits for its end; the exit code, and what it said on standard error.
    pub(crate) fn end(&mut self) -> (Option<i32>, String) {
        let code = self.0.wait().unwrap().code();
        let mut said = String::new();
        if let Some(mut stderr) = self.0.stderr.take() {
            stderr.read_to_string(&mut said).unwrap();
        }
        (code, said)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What `index` must store for `root`, by a walk that shares no code with it.
pub(crate) fn expected_index(root: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut found = BTreeMap::new();
    add_expected(root, &mut found);
    found
}

fn add_expected(path: &Path, found: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
    let metadata = fs::symlink_metadata(path).unwrap();
    let mut key = path.as_os_str().as_bytes().to_vec();
    let mut end = Vec::new();
    let kind = match metadata.mode() & 0o170_000 {
        0o040_000 => {
            key.push(b'/');
            for entry in fs::read_dir(path).unwrap() {
                add_expected(&entry.unwrap().path(), found);
            }
            'd'
        }
        0o120_000 => {
            end = [b" ", fs::read_link(path).unwrap().as_os_str().as_bytes()].concat();
            'l'
        }
        0o100_000 => 'f',
        0o010_000 => 'p',
        other => panic!("unexpected kind {other:o}"),
    };
    let time = format!("{}.{:09}", metadata.mtime(), metadata.mtime_nsec());
    let (mode, size, inode) = (metadata.mode() & 0o7777, metadata.size(), metadata.ino());
    let mut record = format!("{kind} {mode:o} {size} {time} {inode}").into_bytes();
    record.extend_from_slice(&end);
    found.insert(key, record);
}

/// All keys and values of a store, as `scan --hex` prints them.
pub(crate) fn scanned(store: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let printed = run!("scan", "--hex", store).done();
    let pairs = printed.lines().map(|line| {
        let (key, value) = line.split_once('\t').unwrap();
        (unhex(key), unhex(value))
    });
    let all: Vec<_> = pairs.collect();
    assert!(all.is_sorted_by(|one, other| one.0 < other.0), "a scan ascends");
    all.into_iter().collect()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes();
    assert!(digits.len().is_multiple_of(2), "{text}");
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes a tree of `directories` directories with names of all sorts, files and links among them.
pub(crate) fn grow(root: &Path, directories: usize, random: &mut Rng) {
    fs::create_dir(root).unwrap();
    let mut all = vec![root.to_path_buf()];
    for number in 0..directories {
        let parent = all[random.usize(..all.len())].clone();
        for file in 0..random.usize(..6) {
            let path = parent.join(name(number * 10 + file, random));
            match random.u8(..8) {
                0 => std::os::unix::fs::symlink("no/such \n target", path).unwrap(),
                _ => fs::write(path, vec![b'x'; random.usize(..3000)]).unwrap(),
            }
        }
        let path = parent.join(name(number * 10 + 9, random));
        fs::create_dir(&path).unwrap();
        all.push(path);
    }
}

/// A name that occurs once: plain, or such that sorts around `/`, or not UTF-8, or with control bytes.
fn name(number: usize, random: &mut Rng) -> OsString {
    let mut name = match random.u8(..8) {
        0 => b"a-".to_vec(),
        1 => b"a.".to_vec(),
        2 => b"\xff\xfe".to_vec(),
        3 => b"tab\tnew\nline\x01".to_vec(),
        4 => "größer ".as_bytes().to_vec(),
        _ => b"a".to_vec(),
    };
    name.extend_from_slice(number.to_string().as_bytes());
    OsString::from_vec(name)
}
