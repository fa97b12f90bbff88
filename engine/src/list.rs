//! Listing like an object store: the entries right below a prefix, with everything deeper rolled up into
//! common prefixes. It is *not* a scan with a filter: what is rolled up is skipped, not read.

use std::ops::Bound;

use crate::catalog::TreeState;
use crate::error::{Error, ErrorKind, Result};
use crate::range::successor;
use crate::store::Store;
use treering_blobframe::Direction;

use crate::tree::{ScanItem, ScanRequest, Skip};
use crate::write::internal_key;

/// The most entries on one page.
pub const MAX_LIST_LIMIT: usize = 100_000;
/// The entries on a page when the options name no limit.
pub const DEFAULT_LIST_LIMIT: usize = 1000;

/// What to list.
#[derive(Clone, Debug)]
pub struct ListOptions {
    /// Only keys that begin with it.
    pub prefix: Vec<u8>,
    /// Keys that have this byte after the prefix are rolled up to it; `None` lists whole keys only.
    pub delimiter: Option<u8>,
    /// The most entries on this page: 1 to [`MAX_LIST_LIMIT`].
    pub limit: usize,
    /// Only keys after this one. A common prefix that also covers later keys is listed.
    pub after: Option<Vec<u8>>,
    /// The token of the page before; goes on right behind it. Wins over `after`.
    pub token: Option<String>,
}

impl Default for ListOptions {
    fn default() -> Self {
        Self {
            prefix: Vec::new(),
            delimiter: Some(b'/'),
            limit: DEFAULT_LIST_LIMIT,
            after: None,
            token: None,
        }
    }
}

/// One listed thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// A key.
    Key {
        /// The whole key.
        key: Vec<u8>,
        /// Bytes of its value.
        size: u64,
        /// Its version.
        version: u64,
    },
    /// All keys that begin with this, which ends in the delimiter.
    Prefix(Vec<u8>),
}

/// One page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// In byte order.
    pub entries: Vec<Listed>,
    /// Where there is more: what the next page's options take as `token`.
    pub next_token: Option<String>,
}

/// Where a page begins, as a token says it: behind a key, or behind all keys of a common prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Resume {
    BehindKey(Vec<u8>),
    BehindPrefix(Vec<u8>),
}

impl Resume {
    /// `k` or `p`, then the bytes in hexadecimal.
    fn to_token(&self) -> String {
        let (kind, bytes) = match self {
            Self::BehindKey(key) => ('k', key),
            Self::BehindPrefix(prefix) => ('p', prefix),
        };
        let mut token = String::with_capacity(1 + 2 * bytes.len());
        token.push(kind);
        for byte in bytes {
            token.push(char::from(HEX[usize::from(byte >> 4)]));
            token.push(char::from(HEX[usize::from(byte & 15)]));
        }
        token
    }

    fn from_token(token: &str) -> Option<Self> {
        let (kind, digits) = token.as_bytes().split_first()?;
        if !digits.len().is_multiple_of(2) {
            return None;
        }
        let digit = |byte: u8| HEX.iter().position(|&h| h == byte).and_then(|d| u8::try_from(d).ok());
        let bytes: Option<Vec<u8>> =
            digits.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect();
        match kind {
            b'k' => Some(Self::BehindKey(bytes?)),
            b'p' => Some(Self::BehindPrefix(bytes?)),
            _ => None,
        }
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

impl Store {
    /// One page of a listing.
    pub(crate) fn list(&self, tree: &TreeState, options: &ListOptions) -> Result<Listing> {
        self.open()?;
        if options.limit == 0 || options.limit > MAX_LIST_LIMIT {
            let message = format!("the limit of a page must be 1 to {MAX_LIST_LIMIT}, not {}", options.limit);
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let prefix = internal_key(tree.id, &options.prefix);
        let Some(lower) = list_start(tree, options, &prefix)? else { return Ok(Listing::default()) };
        let upper = successor(&prefix);
        let request = ScanRequest {
            lower: lower.as_ref().map(Vec::as_slice),
            upper: upper.as_deref().map_or(Bound::Unbounded, Bound::Excluded),
            direction: Direction::Forward,
            limit: options.limit + 1,
            skip: options.delimiter.map(|delimiter| Skip { prefix_len: prefix.len(), delimiter }),
            keys_only: true,
        };
        let mut items = Vec::new();
        let mut resume = self.scan(&request, &mut items)?;
        // A run may stop early; go on until the page is full or the range is done.
        while items.len() <= options.limit
            && let Some(bound) = resume
        {
            let lower = bound.as_ref().map(Vec::as_slice);
            let request = ScanRequest { lower, limit: options.limit + 1 - items.len(), ..request };
            resume = self.scan(&request, &mut items)?;
        }
        let overflowing = items.len() > options.limit;
        items.truncate(options.limit);
        let next_token = items.last().filter(|_| overflowing).map(|last| match last {
            ScanItem::Leaf { key, .. } => Resume::BehindKey(key[4..].to_vec()).to_token(),
            ScanItem::CommonPrefix(prefix) => Resume::BehindPrefix(prefix[4..].to_vec()).to_token(),
        });
        Ok(Listing { entries: items.into_iter().map(listed).collect(), next_token })
    }
}

/// The lower bound of the page; `None` if nothing can follow.
fn list_start(tree: &TreeState, options: &ListOptions, prefix: &[u8]) -> Result<Option<Bound<Vec<u8>>>> {
    let resume = match (&options.token, &options.after) {
        (Some(token), _) => Some(Resume::from_token(token).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidArgument,
                format!("{token:?} is not a token of a listing; pass it as it was printed"),
            )
        })?),
        (None, after) => after.clone().map(Resume::BehindKey),
    };
    let start = Bound::Included(prefix.to_vec());
    let bound = match resume {
        None => return Ok(Some(start)),
        Some(Resume::BehindKey(key)) => Bound::Excluded(internal_key(tree.id, &key)),
        Some(Resume::BehindPrefix(rolled_up)) => match successor(&internal_key(tree.id, &rolled_up)) {
            Some(next) => Bound::Included(next),
            None => return Ok(None),
        },
    };
    let inside = match &bound {
        Bound::Included(key) | Bound::Excluded(key) => key.as_slice() >= prefix,
        Bound::Unbounded => false,
    };
    Ok(Some(if inside { bound } else { start }))
}

fn listed(item: ScanItem) -> Listed {
    match item {
        ScanItem::Leaf { key, leaf } => {
            Listed::Key { key: key[4..].to_vec(), size: leaf.value_len, version: leaf.version }
        }
        ScanItem::CommonPrefix(prefix) => Listed::Prefix(prefix[4..].to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip_and_nonsense_is_refused() {
        for resume in [Resume::BehindKey(b"a/\0\xff".to_vec()), Resume::BehindPrefix(Vec::new())] {
            assert_eq!(Resume::from_token(&resume.to_token()), Some(resume));
        }
        for bad in ["", "x00", "k0", "kzz", "K00"] {
            assert_eq!(Resume::from_token(bad), None, "{bad}");
        }
    }
}
