//! The record that `index` stores for each path: one line of text, so that `get` and `scan` show it as it
//! is and a pipe can cut it into fields.
//!
//! ```text
//! KIND MODE SIZE SECONDS.NANOSECONDS INODE[ TARGET]
//! ```
//!
//! KIND is one letter as in `ls -l` (`f` for a file, `?` for what is none of them); MODE the permission
//! bits in octal; the time of last modification in seconds since 1970 with nine decimals; TARGET, for a
//! symbolic link only, is the rest of the record, byte for byte. A record is valid if and only if
//! [`Record::decode`] accepts it and [`Record::encode`] gives the same bytes again.

use std::fs::Metadata;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// The metadata of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// `f`, `d`, `l`, `p`, `s`, `b`, `c` or `?`.
    kind: u8,
    /// Permission bits, set-id and sticky included.
    mode: u32,
    /// Bytes, as the file system tells them.
    size: u64,
    /// Whole seconds since 1970 of the last modification.
    seconds: i64,
    /// And nanoseconds, below a thousand million.
    nanoseconds: u32,
    inode: u64,
    /// Where a symbolic link points; empty for all else.
    target: Vec<u8>,
}

impl Record {
    /// The record of `path`, whose `metadata` was read without following a link.
    pub(crate) fn of(path: &Path, metadata: &Metadata) -> io::Result<Self> {
        let kind = kind_letter(metadata);
        let target = match kind {
            b'l' => std::fs::read_link(path)?.into_os_string().into_vec(),
            _ => Vec::new(),
        };
        Ok(Self {
            kind,
            mode: metadata.mode() & 0o7777,
            size: metadata.size(),
            seconds: metadata.mtime(),
            nanoseconds: u32::try_from(metadata.mtime_nsec()).unwrap_or(0),
            inode: metadata.ino(),
            target,
        })
    }

    /// The stored form.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.kind];
        // Writing to a vector cannot fail.
        let _ = write!(
            bytes,
            " {:o} {} {}.{:09} {}",
            self.mode, self.size, self.seconds, self.nanoseconds, self.inode
        );
        if self.kind == b'l' {
            bytes.push(b' ');
            bytes.extend_from_slice(&self.target);
        }
        bytes
    }

    /// The record that `bytes` hold, if they hold one.
    #[cfg(test)]
    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut parts = bytes.splitn(6, |byte| *byte == b' ');
        let kind = match parts.next()? {
            [kind] => *kind,
            _ => return None,
        };
        let mut number = || std::str::from_utf8(parts.next()?).ok();
        let (mode, size, time, inode) = (number()?, number()?, number()?, number()?);
        let (seconds, nanoseconds) = time.split_once('.')?;
        let target = parts.next();
        if (kind == b'l') != target.is_some() {
            return None;
        }
        let record = Self {
            kind,
            mode: u32::from_str_radix(mode, 8).ok()?,
            size: size.parse().ok()?,
            seconds: seconds.parse().ok()?,
            nanoseconds: nanoseconds.parse().ok()?,
            inode: inode.parse().ok()?,
            target: target.unwrap_or_default().to_vec(),
        };
        (record.encode() == bytes).then_some(record)
    }
}

fn kind_letter(metadata: &Metadata) -> u8 {
    let kind = metadata.file_type();
    match () {
        () if kind.is_file() => b'f',
        () if kind.is_dir() => b'd',
        () if kind.is_symlink() => b'l',
        () if kind.is_fifo() => b'p',
        () if kind.is_socket() => b's',
        () if kind.is_block_device() => b'b',
        () if kind.is_char_device() => b'c',
        () => b'?',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(target: &[u8]) -> Record {
        let target = target.to_vec();
        Record { kind: b'l', mode: 0o777, size: 4, seconds: -5, nanoseconds: 7, inode: 99, target }
    }

    #[test]
    fn a_record_is_one_readable_line() {
        let file = Record {
            kind: b'f',
            mode: 0o4755,
            size: 8432,
            seconds: 1_700_000_000,
            nanoseconds: 120_000_000,
            inode: 4711,
            target: Vec::new(),
        };
        assert_eq!(file.encode(), b"f 4755 8432 1700000000.120000000 4711");
        assert_eq!(link(b"a b").encode(), b"l 777 4 -5.000000007 99 a b");
    }

    #[test]
    fn records_read_back_whatever_the_link_target() {
        for target in [&b""[..], b"../x", b" two  spaces ", b"\n\xff\x00"] {
            let record = link(target);
            assert_eq!(Record::decode(&record.encode()), Some(record));
        }
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for wrong in [&b""[..], b"f", b"f 755 1 0.0 5", b"f 755 1 0.000000000 5 x", b"ff 755 1 0.000000000 5"]
        {
            assert_eq!(Record::decode(wrong), None, "{}", String::from_utf8_lossy(wrong));
        }
    }

    #[test]
    fn real_files_directories_and_links_are_told_apart() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("file"), b"12345").unwrap();
        std::os::unix::fs::symlink("file", home.path().join("link")).unwrap();
        let of = |path: &Path| Record::of(path, &path.symlink_metadata().unwrap()).unwrap();
        assert_eq!(of(home.path()).kind, b'd');
        assert_eq!((of(&home.path().join("file")).kind, of(&home.path().join("file")).size), (b'f', 5));
        assert_eq!(
            (of(&home.path().join("link")).kind, of(&home.path().join("link")).target),
            (b'l', b"file".to_vec())
        );
    }
}
