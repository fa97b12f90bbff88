//! The cost of a listing follows the entries listed, never the number of keys below them: a directory
//! with ten children is listed with a million keys below and with a hundred, in one store.

use std::error::Error;

use treering::{Engine, ListOptions, Listed, Options, Tree};

use crate::{Ratio, compare};

const CHILDREN: usize = 10;
const KEYS_BELOW_SUBJECT: usize = 1_000_000;
const KEYS_BELOW_BASELINE: usize = 100;

/// Keys written in one batch.
const BATCH_KEYS: usize = 1000;

/// Listings in one turn.
const LISTINGS: u32 = 200;

/// Fills a store in memory and measures both listings.
pub fn measure() -> Result<Ratio, Box<dyn Error>> {
    let engine = Engine::in_memory(Options::new())?;
    let tree = engine.default_tree();
    fill(&engine, &tree, "few", KEYS_BELOW_BASELINE)?;
    fill(&engine, &tree, "many", KEYS_BELOW_SUBJECT)?;
    // What the background would do beside the measurement is done before it.
    engine.checkpoint()?;
    let ratio = compare(LISTINGS, || list(&tree, "many/"), || list(&tree, "few/"))?;
    engine.close()?;
    Ok(ratio)
}

/// Writes `keys` keys below `directory`, spread evenly over its children.
fn fill(engine: &Engine, tree: &Tree, directory: &str, keys: usize) -> Result<(), Box<dyn Error>> {
    let per_child = keys / CHILDREN;
    for child in 0..CHILDREN {
        let mut next = 0;
        while next < per_child {
            let mut batch = engine.batch();
            let end = per_child.min(next + BATCH_KEYS);
            for file in next..end {
                batch.put(
                    tree,
                    format!("{directory}/child-{child}/{:03}/file-{file:06}", file / 1000),
                    b"value",
                );
            }
            batch.commit(None)?;
            next = end;
        }
    }
    Ok(())
}

/// Lists a directory `LISTINGS` times and checks that it has its children and nothing else.
fn list(tree: &Tree, prefix: &str) -> Result<(), Box<dyn Error>> {
    let options =
        ListOptions { prefix: prefix.as_bytes().to_vec(), delimiter: Some(b'/'), ..Default::default() };
    for _ in 0..LISTINGS {
        let listing = tree.list(&options)?;
        let children = listing.entries.iter().filter(|entry| matches!(entry, Listed::Prefix(_))).count();
        if children != CHILDREN || listing.entries.len() != CHILDREN || listing.next_token.is_some() {
            return Err(
                format!("{prefix} lists {} entries, not {CHILDREN} children", listing.entries.len()).into()
            );
        }
    }
    Ok(())
}
