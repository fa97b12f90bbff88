//! Input lines: from a file, gzip by its ending, or standard input; separated by newlines or NUL bytes;
//! each a key and, after the first tab, a value. Memory is bounded: a line longer than any record can be
//! is refused before it is read to its end.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::failure::{Failure, Outcome};
use crate::text::Text;

/// The longest input line, in bytes: the longest value and key, each byte spelled with four.
const MAX_LINE_BYTES: u64 = 4 * ((1 << 30) + (16 << 10));

/// A key and its value, as one line gives them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Counted from 1.
    pub(crate) number: u64,
    /// The key; the empty one is a key like any other.
    pub(crate) key: Vec<u8>,
    /// The value; empty where the line has no tab.
    pub(crate) value: Vec<u8>,
}

/// A source of lines.
pub(crate) struct Lines {
    source: Box<dyn BufRead + Send>,
    separator: u8,
    text: Text,
    number: u64,
    raw: Vec<u8>,
}

impl Lines {
    /// The lines of `file`; of standard input for `-` and for none.
    pub(crate) fn open(file: Option<&Path>, null: bool, text: Text) -> Outcome<Self> {
        let source: Box<dyn BufRead + Send> = match file {
            Some(path) if path != Path::new("-") => {
                let open = File::open(path);
                let file = open.map_err(|error| Failure::io(format!("open {}", path.display()), error))?;
                match path.extension() {
                    Some(ending) if ending == "gz" => Box::new(BufReader::new(MultiGzDecoder::new(file))),
                    _ => Box::new(BufReader::with_capacity(64 << 10, file)),
                }
            }
            _ => Box::new(BufReader::new(io::stdin())),
        };
        Ok(Self::over(source, null, text))
    }

    fn over(source: Box<dyn BufRead + Send>, null: bool, text: Text) -> Self {
        Self { source, separator: if null { 0 } else { b'\n' }, text, number: 0, raw: Vec::new() }
    }

    /// The next line; `None` at the end. The last one need not end in the separator.
    pub(crate) fn next_line(&mut self) -> Outcome<Option<Line>> {
        self.raw.clear();
        let mut bounded = (&mut self.source).take(MAX_LINE_BYTES);
        let read = bounded.read_until(self.separator, &mut self.raw);
        if read.map_err(|error| Failure::io("read the input", error))? == 0 {
            return Ok(None);
        }
        self.number += 1;
        if self.raw.last() == Some(&self.separator) {
            self.raw.pop();
        } else if self.raw.len() as u64 == MAX_LINE_BYTES {
            return Err(self.refuse("it is longer than any record can be"));
        }
        self.parse().map(Some)
    }

    fn parse(&self) -> Outcome<Line> {
        let tab = self.raw.iter().position(|byte| *byte == b'\t');
        let (key, value) = match tab {
            Some(at) => (&self.raw[..at], &self.raw[at + 1..]),
            None => (&self.raw[..], &[][..]),
        };
        let decode = |bytes| self.text.decode(bytes).map_err(|error| self.refuse(&error));
        Ok(Line { number: self.number, key: decode(key)?, value: decode(value)? })
    }

    fn refuse(&self, why: &str) -> Failure {
        Failure::Usage(format!("input line {} cannot be loaded: {why}", self.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    type Parsed = Vec<(u64, Vec<u8>, Vec<u8>)>;

    fn all(mut lines: Lines) -> Outcome<Parsed> {
        let mut found = Vec::new();
        while let Some(line) = lines.next_line()? {
            found.push((line.number, line.key, line.value));
        }
        Ok(found)
    }

    fn over(bytes: &'static [u8], null: bool, text: Text) -> Lines {
        Lines::over(Box::new(bytes), null, text)
    }

    fn owned(expect: &[(u64, &[u8], &[u8])]) -> Parsed {
        expect.iter().map(|(number, key, value)| (*number, key.to_vec(), value.to_vec())).collect()
    }

    #[test]
    fn the_value_is_all_behind_the_first_tab_and_may_be_absent() {
        let found = all(over(b"a\t1\tx\nb\n\nc\t", false, Text::Raw)).unwrap();
        assert_eq!(found, owned(&[(1, b"a", b"1\tx"), (2, b"b", b""), (3, b"", b""), (4, b"c", b"")]));
        assert!(all(over(b"", false, Text::Raw)).unwrap().is_empty());
    }

    #[test]
    fn null_separated_lines_may_hold_newlines() {
        let found = all(over(b"a\nb\t1\n\0c\0", true, Text::Raw)).unwrap();
        assert_eq!(found, owned(&[(1, b"a\nb", b"1\n"), (2, b"c", b"")]));
    }

    #[test]
    fn escapes_and_hexadecimal_are_read_by_field() {
        let found = all(over(b"a\\x09b\t\\x0a\n", false, Text::Escaped)).unwrap();
        assert_eq!(found, owned(&[(1, b"a\tb", b"\n")]));
        let found = all(over(b"61\t00ff\n", false, Text::Hex)).unwrap();
        assert_eq!(found, owned(&[(1, b"a", b"\x00\xff")]));
        let wrong = all(over(b"61\n6\n", false, Text::Hex)).unwrap_err();
        assert_eq!(wrong.code(), 2);
        assert!(wrong.sentence().unwrap().contains("line 2"));
    }

    #[test]
    fn a_file_that_ends_in_gz_is_decompressed_all_members() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("lines.gz");
        let mut bytes = Vec::new();
        for part in ["a\t1\n", "b\t2\n"] {
            let mut member = flate2::write::GzEncoder::new(&mut bytes, flate2::Compression::fast());
            member.write_all(part.as_bytes()).unwrap();
            member.finish().unwrap();
        }
        std::fs::write(&path, &bytes).unwrap();
        let found = all(Lines::open(Some(&path), false, Text::Raw).unwrap()).unwrap();
        assert_eq!(found, owned(&[(1, b"a", b"1"), (2, b"b", b"2")]));
        std::fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
        let cut = all(Lines::open(Some(&path), false, Text::Raw).unwrap()).unwrap_err();
        assert_eq!(cut.code(), 5);
    }
}
