//! The three spellings of keys and values: raw bytes, `\xNN` escapes, and hexadecimal; and their form in
//! JSON. Escapes and hexadecimal are exact: what is printed reads back as the same bytes.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// How bytes are read from arguments and input, and printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// As they are.
    Raw,
    /// Printable UTF-8 as it is, a backslash doubled, every other byte as `\xNN`.
    Escaped,
    /// Two digits a byte.
    Hex,
}

impl Text {
    /// The bytes that `spelled` stands for; the error says what is wrong with it.
    pub(crate) fn decode(self, spelled: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Self::Raw => Ok(spelled.to_vec()),
            Self::Escaped => unescape(spelled),
            Self::Hex => unhex(spelled),
        }
    }

    /// Appends the spelling of `bytes` to `out`.
    pub(crate) fn encode(self, bytes: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Raw => out.extend_from_slice(bytes),
            Self::Escaped => escape(bytes, out),
            Self::Hex => out.extend_from_slice(hex(bytes).as_bytes()),
        }
    }

    /// The spelling of `bytes` for a message: never raw control characters.
    pub(crate) fn quote(self, bytes: &[u8]) -> String {
        let mut out = Vec::new();
        match self {
            Self::Hex => Self::Hex.encode(bytes, &mut out),
            _ => Self::Escaped.encode(bytes, &mut out),
        }
        format!("'{}'", String::from_utf8_lossy(&out))
    }
}

/// `bytes` in JSON: a string where they are UTF-8, else `{"hex": …}`.
pub(crate) fn json_bytes(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(_) => json!({ "hex": hex(bytes) }),
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn unhex(spelled: &[u8]) -> Result<Vec<u8>, String> {
    let (pairs, rest) = spelled.as_chunks::<2>();
    let bytes: Option<Vec<u8>> = pairs.iter().map(hex_pair).collect();
    match bytes {
        Some(bytes) if rest.is_empty() => Ok(bytes),
        _ => Err("hexadecimal needs two digits for each byte".to_string()),
    }
}

fn hex_pair(pair: &[u8; 2]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(pair[0])? << 4 | digit(pair[1])?)
}

fn unescape(spelled: &[u8]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(spelled.len());
    let mut rest = spelled;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'\\' {
            bytes.push(first);
            continue;
        }
        match tail {
            [b'\\', after @ ..] => {
                bytes.push(b'\\');
                rest = after;
            }
            [b'x', high, low, after @ ..] => {
                let byte = hex_pair(&[*high, *low]).ok_or("\\x needs two hexadecimal digits")?;
                bytes.push(byte);
                rest = after;
            }
            _ => return Err("a backslash must be followed by another, or by x and two digits".to_string()),
        }
    }
    Ok(bytes)
}

fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            let mut buffer = [0; 4];
            let encoded = character.encode_utf8(&mut buffer).as_bytes();
            match character {
                '\\' => out.extend_from_slice(b"\\\\"),
                _ if is_printable(character) => out.extend_from_slice(encoded),
                _ => escape_each(encoded, out),
            }
        }
        escape_each(chunk.invalid(), out);
    }
}

fn escape_each(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        out.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
    }
}

/// Whether a terminal shows the character as itself: no control, no invisible or direction-changing one.
fn is_printable(character: char) -> bool {
    let invisible = matches!(character,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    !character.is_control() && !invisible
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(text: Text, bytes: &[u8]) -> String {
        let mut out = Vec::new();
        text.encode(bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn escapes_show_printable_text_as_it_is() {
        assert_eq!(spelled(Text::Escaped, "/usr/é".as_bytes()), "/usr/é");
        assert_eq!(spelled(Text::Escaped, b"a\tb\n\x00\\\xff"), "a\\x09b\\x0a\\x00\\\\\\xff");
        assert_eq!(spelled(Text::Escaped, "\u{202e}".as_bytes()), "\\xe2\\x80\\xae");
    }

    #[test]
    fn every_byte_string_reads_back_as_itself() {
        let every: Vec<u8> = (0..=255).collect();
        let mut random = fastrand::Rng::with_seed(7);
        let mut cases = vec![Vec::new(), every, b"\\x41".to_vec(), b"\xe2\x80".to_vec()];
        cases.extend((0..500).map(|_| (0..random.usize(0..40)).map(|_| random.u8(..)).collect::<Vec<u8>>()));
        for bytes in cases {
            for text in [Text::Raw, Text::Escaped, Text::Hex] {
                let mut out = Vec::new();
                text.encode(&bytes, &mut out);
                assert_eq!(text.decode(&out).as_ref(), Ok(&bytes), "{text:?}");
            }
        }
    }

    #[test]
    fn wrong_spellings_are_refused() {
        for wrong in ["\\", "\\x", "\\x4", "\\xzz", "\\n"] {
            assert!(Text::Escaped.decode(wrong.as_bytes()).is_err(), "{wrong}");
        }
        for wrong in ["4", "zz", "414", "+1"] {
            assert!(Text::Hex.decode(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn json_is_text_where_it_can_be() {
        assert_eq!(json_bytes(b"a/b"), json!("a/b"));
        assert_eq!(json_bytes(b"\xff\x00"), json!({ "hex": "ff00" }));
    }
}
