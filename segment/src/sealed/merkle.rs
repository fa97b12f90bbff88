//! The Merkle tree over a segment's records: BLAKE3, leaves in key order. It proves content, not
//! placement: LSN and times are not in it, so that a record's leaf stays the same when it moves.
//!
//! ```text
//! leaf       = BLAKE3(0x00 | u32 key length | key | value)
//! tombstone  = BLAKE3(0x02 | u32 key length | key)
//! node       = BLAKE3(0x01 | left | right)
//! no records = BLAKE3(0x03)
//! ```
//! The shape is RFC 6962's: of n leaves the left subtree holds the greatest power of two below n.

use super::format::MAX_KEY_BYTES;

pub(super) type Hash = [u8; 32];

const LEAF: u8 = 0;
const NODE: u8 = 1;
const TOMBSTONE: u8 = 2;
const EMPTY: u8 = 3;

/// The leaf of a record; `None` is a tombstone's value.
pub(super) fn leaf(key: &[u8], value: Option<&[u8]>) -> Hash {
    debug_assert!(key.len() <= MAX_KEY_BYTES, "the writer has checked the key");
    let key_len = u32::try_from(key.len()).unwrap_or(u32::MAX);
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[if value.is_some() { LEAF } else { TOMBSTONE }]);
    hasher.update(&key_len.to_le_bytes());
    hasher.update(key);
    hasher.update(value.unwrap_or_default());
    hasher.finalize().into()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[NODE]);
    hasher.update(left);
    hasher.update(right);
    hasher.finalize().into()
}

/// A tree under construction: the roots of its perfect subtrees, largest first, one for each bit of
/// the number of leaves.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    leaves: u64,
    roots: Vec<Hash>,
}

impl Tree {
    pub(super) fn push(&mut self, leaf: Hash) {
        let mut root = leaf;
        for _ in 0..self.leaves.trailing_ones() {
            let left = self.roots.pop().expect("one root for each bit of the count");
            root = node(&left, &root);
        }
        self.roots.push(root);
        self.leaves += 1;
    }

    pub(super) fn root(mut self) -> Hash {
        let Some(mut root) = self.roots.pop() else {
            return blake3::hash(&[EMPTY]).into();
        };
        while let Some(left) = self.roots.pop() {
            root = node(&left, &root);
        }
        root
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6962's definition, word for word.
    fn recursive(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => blake3::hash(&[EMPTY]).into(),
            [one] => *one,
            many => {
                let split = many.len().next_power_of_two() / 2;
                node(&recursive(&many[..split]), &recursive(&many[split..]))
            }
        }
    }

    #[test]
    fn incremental_root_is_the_recursive_one() {
        let leaves: Vec<Hash> = (0..70_u8).map(|i| leaf(&[i], Some(&[i, i]))).collect();
        for count in 0..=leaves.len() {
            let mut tree = Tree::default();
            leaves[..count].iter().for_each(|l| tree.push(*l));
            assert_eq!(tree.root(), recursive(&leaves[..count]), "{count} leaves");
        }
    }

    #[test]
    fn key_and_value_cannot_trade_bytes_and_a_tombstone_is_no_empty_value() {
        assert_ne!(leaf(b"ab", Some(b"c")), leaf(b"a", Some(b"bc")));
        assert_ne!(leaf(b"a", Some(b"")), leaf(b"a", None));
    }
}
