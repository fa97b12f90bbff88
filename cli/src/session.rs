//! What all commands share: the common flags, opening the store for reading or writing, choosing the tree,
//! and messages on standard error.

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use clap::Args;
use treering::{Engine, Options, Tree};

use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::text::Text;

/// Flags that every command takes.
#[derive(Args, Debug)]
pub(crate) struct Common {
    /// Print one JSON object a line
    #[arg(long, global = true)]
    json: bool,
    /// Read and print `\xNN` for what is not printable UTF-8
    #[arg(long, global = true, conflicts_with = "hex")]
    escaped: bool,
    /// Read and print keys and values in hexadecimal
    #[arg(long, global = true)]
    hex: bool,
    /// The named tree to work on (the default tree otherwise)
    #[arg(long, global = true, value_name = "NAME")]
    tree: Option<String>,
    /// Bytes of a frame of a new store
    #[arg(long, global = true, value_name = "N", hide = true)]
    frame_bytes: Option<usize>,
    /// Bytes of the write-ahead ring of a new store
    #[arg(long, global = true, value_name = "N", hide = true)]
    ring_bytes: Option<usize>,
    /// Bytes of log in each log file of a new store
    #[arg(long, global = true, value_name = "N", hide = true)]
    log_segment_bytes: Option<u64>,
    /// Bytes of log that may wait for a cut
    #[arg(long, global = true, value_name = "N", hide = true)]
    log_cap_bytes: Option<u64>,
}

/// The common flags in the form that commands use.
pub(crate) struct Session {
    /// How bytes are spelled.
    pub(crate) text: Text,
    /// Whether output is JSON.
    pub(crate) json: bool,
    common: Common,
}

impl Session {
    /// The session that the flags describe.
    pub(crate) fn new(common: Common) -> Self {
        let text = match (common.escaped, common.hex) {
            (true, _) => Text::Escaped,
            (_, true) => Text::Hex,
            _ => Text::Raw,
        };
        Self { text, json: common.json, common }
    }

    /// Standard output in the chosen spelling.
    pub(crate) fn output(&self) -> Output {
        Output::new(self.text)
    }

    /// The bytes of a key or value argument.
    pub(crate) fn bytes(&self, what: &str, argument: &OsStr) -> Outcome<Vec<u8>> {
        self.text.decode(argument.as_bytes()).map_err(|error| Failure::Usage(format!("{what}: {error}")))
    }

    /// Opens an existing store without changing a byte of it.
    pub(crate) fn open_to_read(&self, directory: &Path) -> Outcome<Engine> {
        Ok(Engine::open(directory, self.options().read_only(true).create_if_missing(false))?)
    }

    /// Opens a store for writing; a missing one is made if `create` says so.
    pub(crate) fn open_to_write(&self, directory: &Path, create: bool) -> Outcome<Engine> {
        Ok(Engine::open(directory, self.options().create_if_missing(create))?)
    }

    /// The options of the store, hidden sizes included.
    pub(crate) fn options(&self) -> Options {
        let mut options = Options::new();
        if let Some(bytes) = self.common.frame_bytes {
            options = options.frame_bytes(bytes);
        }
        if let Some(bytes) = self.common.ring_bytes {
            options = options.ring_bytes(bytes);
        }
        if let Some(bytes) = self.common.log_segment_bytes {
            options = options.log_segment_bytes(bytes);
        }
        if let Some(bytes) = self.common.log_cap_bytes {
            options = options.log_cap_bytes(bytes);
        }
        options
    }

    /// The chosen tree; a clean "no" if the store has none of that name.
    pub(crate) fn tree(&self, engine: &Engine) -> Outcome<Tree> {
        let Some(name) = &self.common.tree else {
            return Ok(engine.default_tree());
        };
        match engine.tree(name)? {
            Some(tree) => Ok(tree),
            None => Err(Failure::No(format!("the store has no tree named '{name}'"))),
        }
    }

    /// The chosen tree, created if the store has none of that name.
    pub(crate) fn tree_or_new(&self, engine: &Engine) -> Outcome<Tree> {
        match &self.common.tree {
            Some(name) => Ok(engine.create_tree(name)?),
            None => Ok(engine.default_tree()),
        }
    }
}

/// A sentence on standard error. Nothing can be done where that is closed.
pub(crate) fn say(sentence: &str) {
    let _ = writeln!(std::io::stderr(), "treering: {sentence}");
}
