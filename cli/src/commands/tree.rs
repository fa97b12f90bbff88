//! `tree`: the hierarchy below a prefix, with the number of keys and the bytes of their values. One scan
//! of the keys adds everything up; memory grows with what is drawn, not with what lies below it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use indicatif::{HumanBytes, HumanCount};
use serde_json::json;

use crate::failure::Outcome;
use crate::output::Output;
use crate::session::Session;
use crate::text::json_bytes;

/// Arguments of `tree`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The store's directory
    #[arg(value_name = "DIR")]
    store: PathBuf,
    /// Only keys that begin with it
    #[arg(value_name = "PREFIX", default_value = "")]
    prefix: OsString,
    /// How many levels below the prefix to draw
    #[arg(long, value_name = "N", default_value_t = 2)]
    depth: usize,
}

/// Runs `tree`.
pub(crate) fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let prefix = session.bytes("PREFIX", &arguments.prefix)?;
    let engine = session.open_to_read(&arguments.store)?;
    let mut root = Branch::default();
    for entry in session.tree(&engine)?.prefix(&prefix).keys_only() {
        let entry = entry?;
        root.add(&entry.key[prefix.len()..], entry.size, arguments.depth);
    }
    let mut output = session.output();
    match session.json {
        true => root.print_json(&mut output, &prefix, 0)?,
        false => {
            root.name.clone_from(&prefix);
            root.draw(&mut output, "", "")?;
        }
    }
    output.finish()
}

/// A part of the hierarchy: a level that ends in `/`, or a key.
#[derive(Debug, Default, PartialEq, Eq)]
struct Branch {
    /// The part of the key between the parent's name and the next level, `/` included.
    name: Vec<u8>,
    /// Keys at and below it.
    keys: u64,
    /// Bytes of their values.
    bytes: u64,
    /// In key order.
    children: Vec<Branch>,
}

impl Branch {
    /// Adds a key, which is `rest` from here on and comes after all added before.
    fn add(&mut self, rest: &[u8], bytes: u64, depth: usize) {
        let mut branch = self;
        branch.count(bytes);
        for name in rest.split_inclusive(|byte| *byte == b'/').take(depth) {
            // Keys ascend, so only the last child can be the one that the key belongs below.
            if branch.children.last().is_none_or(|last| last.name != name) {
                branch.children.push(Self { name: name.to_vec(), ..Self::default() });
            }
            let last = branch.children.len() - 1;
            branch = &mut branch.children[last];
            branch.count(bytes);
        }
    }

    fn count(&mut self, bytes: u64) {
        self.keys += 1;
        self.bytes += bytes;
    }

    /// Whether it stands for one key and nothing below.
    fn is_key(&self) -> bool {
        self.keys == 1 && self.name.last() != Some(&b'/')
    }

    /// Draws it behind `own`, and what is below behind `below`.
    fn draw(&self, output: &mut Output, own: &str, below: &str) -> Outcome {
        let size = HumanBytes(self.bytes);
        let told = match self.is_key() {
            true => format!("  {size}"),
            false if self.keys == 1 => format!("  1 key, {size}"),
            false => format!("  {} keys, {size}", HumanCount(self.keys)),
        };
        output.labelled(own, &self.name, &told)?;
        for (index, child) in self.children.iter().enumerate() {
            let (own, rest) = match index + 1 == self.children.len() {
                true => ("└── ", "    "),
                false => ("├── ", "│   "),
            };
            child.draw(output, &format!("{below}{own}"), &format!("{below}{rest}"))?;
        }
        Ok(())
    }

    fn print_json(&self, output: &mut Output, path: &[u8], depth: usize) -> Outcome {
        output.object(&[
            ("path", json_bytes(path)),
            ("depth", json!(depth)),
            ("keys", json!(self.keys)),
            ("bytes", json!(self.bytes)),
        ])?;
        self.children
            .iter()
            .try_for_each(|child| child.print_json(output, &[path, &child.name].concat(), depth + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grown(keys: &[&str], depth: usize) -> Branch {
        let mut root = Branch::default();
        for key in keys {
            root.add(key.as_bytes(), key.len() as u64, depth);
        }
        root
    }

    fn flat(branch: &Branch, path: &str, out: &mut Vec<(String, u64, u64)>) {
        for child in &branch.children {
            let path = path.to_string() + std::str::from_utf8(&child.name).unwrap();
            out.push((path.clone(), child.keys, child.bytes));
            flat(child, &path, out);
        }
    }

    #[test]
    fn levels_add_up_what_is_below_them() {
        let root = grown(&["a/", "a/b", "a/c/d", "a/c/e", "ab", "z/y/x"], 2);
        assert_eq!((root.keys, root.bytes), (6, 2 + 3 + 5 + 5 + 2 + 5));
        let mut found = Vec::new();
        flat(&root, "", &mut found);
        let found: Vec<_> = found.iter().map(|(path, keys, bytes)| (path.as_str(), *keys, *bytes)).collect();
        let expect =
            [("a/", 4, 15), ("a/b", 1, 3), ("a/c/", 2, 10), ("ab", 1, 2), ("z/", 1, 5), ("z/y/", 1, 5)];
        assert_eq!(found, expect);
    }

    #[test]
    fn depth_bounds_what_is_kept() {
        let root = grown(&["a/b/c", "a/b/d"], 0);
        assert_eq!((root.keys, root.children.len()), (2, 0));
        let root = grown(&["/a", "/b", "c"], 1);
        assert_eq!(root.children.iter().map(|child| &child.name[..]).collect::<Vec<_>>(), [&b"/"[..], b"c"]);
    }
}
