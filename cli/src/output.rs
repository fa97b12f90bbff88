//! Standard output of one command: buffered lines, in the spelling that was asked for, or JSON objects
//! with their fields in a stable order. Errors and progress go to standard error and are *not* here.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use indicatif::HumanCount;
use serde_json::Value;

use crate::failure::{Failure, Outcome};
use crate::text::Text;

/// The buffered standard output of one command.
pub(crate) struct Output {
    sink: BufWriter<Stdout>,
    text: Text,
    line: Vec<u8>,
}

impl Output {
    /// Standard output, bytes spelled as `text`.
    pub(crate) fn new(text: Text) -> Self {
        Self { sink: BufWriter::with_capacity(64 << 10, io::stdout()), text, line: Vec::new() }
    }

    /// One line of `text`, as it is.
    pub(crate) fn line(&mut self, text: &str) -> Outcome {
        self.put(&[text.as_bytes(), b"\n"])
    }

    /// One line of byte fields, each in the chosen spelling, separated by tabs.
    pub(crate) fn fields(&mut self, fields: &[&[u8]]) -> Outcome {
        self.prefixed("", fields)
    }

    /// As [`Output::fields`], after `prefix` as it is.
    pub(crate) fn prefixed(&mut self, prefix: &str, fields: &[&[u8]]) -> Outcome {
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        line.extend_from_slice(prefix.as_bytes());
        for (index, field) in fields.iter().enumerate() {
            if index > 0 {
                line.push(b'\t');
            }
            self.text.encode(field, &mut line);
        }
        line.push(b'\n');
        let written = self.put(&[&line]);
        self.line = line;
        written
    }

    /// One line of `before`, a name in the chosen spelling, and `behind`.
    pub(crate) fn labelled(&mut self, before: &str, name: &[u8], behind: &str) -> Outcome {
        let mut line = before.as_bytes().to_vec();
        self.text.encode(name, &mut line);
        line.extend_from_slice(behind.as_bytes());
        line.push(b'\n');
        self.put(&[&line])
    }

    /// A value alone: exactly its bytes when raw, else its spelling and a newline. A terminal gets the
    /// newline in any case, so that the prompt stands on a line of its own.
    pub(crate) fn value(&mut self, value: &[u8]) -> Outcome {
        if self.text == Text::Raw && !io::stdout().is_terminal() {
            return self.put(&[value]);
        }
        self.fields(&[value])
    }

    /// One JSON object on a line, its fields in the order given.
    pub(crate) fn object(&mut self, fields: &[(&str, Value)]) -> Outcome {
        self.line(&json_line(fields))
    }

    /// Hands everything to the operating system.
    pub(crate) fn finish(mut self) -> Outcome {
        self.sink.flush().map_err(Failure::output)
    }

    fn put(&mut self, parts: &[&[u8]]) -> Outcome {
        for part in parts {
            self.sink.write_all(part).map_err(Failure::output)?;
        }
        Ok(())
    }
}

/// A JSON object without a line end, its fields in the order given.
pub(crate) fn json_line(fields: &[(&str, Value)]) -> String {
    let mut line = String::from("{");
    for (index, (name, value)) in fields.iter().enumerate() {
        if index > 0 {
            line.push(',');
        }
        line.push_str(&Value::from(*name).to_string());
        line.push(':');
        line.push_str(&value.to_string());
    }
    line.push('}');
    line
}

/// `count` things, in words: "1 frame", "2,000 frames".
pub(crate) fn counted(count: u64, thing: &str) -> String {
    match count {
        1 => format!("1 {thing}"),
        _ => format!("{} {thing}s", HumanCount(count)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_objects_keep_the_order_of_their_fields() {
        let line = json_line(&[("key", json!("a\"b")), ("size", json!(5)), ("expires_at", Value::Null)]);
        assert_eq!(line, r#"{"key":"a\"b","size":5,"expires_at":null}"#);
        assert_eq!(json_line(&[]), "{}");
    }
}
