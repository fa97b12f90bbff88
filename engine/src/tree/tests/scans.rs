//! Ranges, pages and listings against what a map says.

use super::*;

fn filled(seed: u64, make_key: fn(&mut Rng) -> Vec<u8>) -> (Tree, Model) {
    let (tree, mut model, mut rng) = (new_tree(), Model::new(), Rng::new(seed));
    for version in 1..4_000 {
        let (key, value) = (make_key(&mut rng), rng.value(version));
        tree.writer(1).put(&key, &value.leaf()).unwrap();
        model.insert(key, value);
    }
    // Emptied frames must be passed over.
    let doomed: Vec<_> =
        model.range(b"\0\0\0\x01dir2".to_vec()..b"\0\0\0\x01dir4".to_vec()).map(|e| e.0.clone()).collect();
    for key in doomed {
        assert_eq!(tree.writer(1).remove(&key), Ok(true));
        model.remove(&key);
    }
    (tree, model)
}

/// Pages of `limit` items until there are no more.
fn paged(tree: &Tree, request: &ScanRequest<'_>, alive: &dyn Fn(&LeafMeta) -> bool) -> Vec<ScanItem> {
    let mut items = Vec::new();
    let mut resume = None::<Bound<Vec<u8>>>;
    loop {
        let mut page = *request;
        let bound = resume.as_ref().map(|bound| bound.as_ref().map(Vec::as_slice));
        match (bound, request.direction) {
            (Some(bound), Direction::Forward) => page.lower = bound,
            (Some(bound), Direction::Backward) => page.upper = bound,
            (None, _) => {}
        }
        let before = items.len();
        let next = tree.collect(&page, &mut items, alive).unwrap();
        assert!(items.len() - before <= request.limit);
        match next {
            Some(next) => {
                assert_eq!(items.len() - before, request.limit, "a page that is not the last is full");
                resume = Some(next);
            }
            None => return items,
        }
    }
}

fn random_bound(rng: &mut Rng, model: &Model, make_key: fn(&mut Rng) -> Vec<u8>) -> Bound<Vec<u8>> {
    let key = if rng.below(2) == 0 || model.is_empty() {
        make_key(rng)
    } else {
        model.keys().nth(rng.below(model.len())).unwrap().clone()
    };
    match rng.below(5) {
        0 => Bound::Unbounded,
        1 | 2 => Bound::Included(key),
        _ => Bound::Excluded(key),
    }
}

fn within(key: &[u8], lower: &Bound<Vec<u8>>, upper: &Bound<Vec<u8>>) -> bool {
    let above = match lower {
        Bound::Included(lower) => key >= lower.as_slice(),
        Bound::Excluded(lower) => key > lower.as_slice(),
        Bound::Unbounded => true,
    };
    above
        && match upper {
            Bound::Included(upper) => key <= upper.as_slice(),
            Bound::Excluded(upper) => key < upper.as_slice(),
            Bound::Unbounded => true,
        }
}

/// What a listing must say: each live key, or once the prefix that stands for it.
fn expected(
    model: &Model,
    request: &ScanRequest<'_>,
    bounds: (&Bound<Vec<u8>>, &Bound<Vec<u8>>),
    alive: &dyn Fn(u64) -> bool,
) -> Vec<(Vec<u8>, bool)> {
    let mut list: Vec<(Vec<u8>, bool)> = Vec::new();
    for (key, value) in model {
        if !within(key, bounds.0, bounds.1) || !alive(value.version) {
            continue;
        }
        let common = request.skip.and_then(|skip| {
            let at = key.get(skip.prefix_len..)?.iter().position(|&byte| byte == skip.delimiter)?;
            Some(key[..skip.prefix_len + at + 1].to_vec())
        });
        match common {
            Some(common) => {
                if list.last() != Some(&(common.clone(), true)) {
                    list.push((common, true));
                }
            }
            None => list.push((key.clone(), false)),
        }
    }
    if request.direction == Direction::Backward {
        list.reverse();
    }
    list
}

fn compare(tree: &Tree, model: &Model, rng: &mut Rng, make_key: fn(&mut Rng) -> Vec<u8>, delimiters: &[u8]) {
    let lower = random_bound(rng, model, make_key);
    let upper = random_bound(rng, model, make_key);
    let skip = (rng.below(2) == 0)
        .then(|| Skip { prefix_len: rng.below(12), delimiter: delimiters[rng.below(delimiters.len())] });
    let request = ScanRequest {
        lower: lower.as_ref().map(Vec::as_slice),
        upper: upper.as_ref().map(Vec::as_slice),
        direction: if rng.below(2) == 0 { Direction::Forward } else { Direction::Backward },
        limit: [1, 2, 7, 100, usize::MAX][rng.below(5)],
        skip,
        keys_only: rng.below(2) == 0,
    };
    let modulus = 1 + rng.below(4) as u64;
    let items = paged(tree, &request, &|leaf| leaf.version % modulus == 0);
    let found: Vec<_> = items
        .into_iter()
        .map(|item| match item {
            ScanItem::CommonPrefix(prefix) => (prefix, true),
            ScanItem::Leaf { key, leaf } => {
                let value = &model[&key];
                assert_eq!((leaf.version, leaf.death), (value.version, value.death));
                match (&value.data, leaf.value) {
                    (Err(pointer), LeafData::Pointer(found)) => assert_eq!(*pointer, found),
                    (Ok(bytes), LeafData::Inline(found)) => {
                        assert_eq!(bytes.len() as u64, leaf.value_len);
                        assert_eq!(found, if request.keys_only { &[] } else { bytes.as_slice() });
                    }
                    _ => panic!("an inline value became a pointer, or a pointer a value"),
                }
                (key, false)
            }
        })
        .collect();
    let expected = expected(model, &request, (&lower, &upper), &|version| version % modulus == 0);
    assert_eq!(found, expected, "{lower:?} {upper:?} {skip:?} {:?} {}", request.direction, request.limit);
}

#[test]
fn ranges_and_listings_of_paths_say_what_the_map_says() {
    let (tree, model) = filled(11, Rng::path);
    let mut rng = Rng::new(12);
    for _ in 0..600 {
        compare(&tree, &model, &mut rng, Rng::path, b"/0r");
    }
}

#[test]
fn ranges_and_listings_of_any_bytes_say_what_the_map_says() {
    let (tree, model) = filled(13, Rng::bytes);
    let mut rng = Rng::new(14);
    for _ in 0..600 {
        compare(&tree, &model, &mut rng, Rng::bytes, &[0, b'/', 0xfe, 0xff]);
    }
}

#[test]
fn a_listing_does_not_look_at_what_lies_below_a_common_prefix() {
    let tree = new_tree();
    let value = Value { version: 1, death: None, data: Ok(Vec::new()) };
    for directory in 0..5 {
        for file in 0..1_000 {
            tree.writer(1).put(format!("d{directory}/{file:04}").as_bytes(), &value.leaf()).unwrap();
        }
    }
    assert!(tree.stats().frames > 10);
    for direction in [Direction::Forward, Direction::Backward] {
        let looked_at = std::cell::Cell::new(0);
        let alive = |_: &LeafMeta| {
            looked_at.set(looked_at.get() + 1);
            true
        };
        let skip = Some(Skip { prefix_len: 0, delimiter: b'/' });
        let mut items = Vec::new();
        tree.collect(&ScanRequest { skip, ..everything(direction) }, &mut items, &alive).unwrap();
        assert_eq!(items.len(), 5);
        assert!(looked_at.get() <= 5, "at most one leaf for each common prefix");
    }
}

#[test]
fn a_common_prefix_whose_leaves_have_all_died_is_not_listed() {
    let tree = new_tree();
    for directory in 0..3 {
        for file in 0..500 {
            let death = (directory != 1).then_some(10);
            let value = Value { version: 1, death, data: Ok(Vec::new()) };
            tree.writer(1).put(format!("d{directory}/{file:04}").as_bytes(), &value.leaf()).unwrap();
        }
    }
    // One that lives on among the dead, and one that gets a death time in place.
    let living = Value { version: 2, death: None, data: Ok(Vec::new()) };
    tree.writer(1).put(b"d2/0499", &living.leaf()).unwrap();
    for file in 0..500 {
        let dying = Value { version: 3, death: Some(10), data: Ok(Vec::new()) };
        tree.writer(1).put(format!("d1/{file:04}").as_bytes(), &dying.leaf()).unwrap();
    }
    for direction in [Direction::Forward, Direction::Backward] {
        let skip = Some(Skip { prefix_len: 0, delimiter: b'/' });
        let mut items = Vec::new();
        let alive = |leaf: &LeafMeta| leaf.death.is_none();
        tree.collect(&ScanRequest { skip, ..everything(direction) }, &mut items, &alive).unwrap();
        assert_eq!(items, [ScanItem::CommonPrefix(b"d2/".to_vec())]);
    }
    tree.verify_frames().unwrap();
}

#[test]
fn an_empty_tree_and_a_limit_of_nothing_list_nothing() {
    let tree = new_tree();
    let mut items = Vec::new();
    assert_eq!(tree.collect(&everything(Direction::Forward), &mut items, &all_alive), Ok(None));
    let request = ScanRequest { limit: 0, lower: Bound::Excluded(b"a"), ..everything(Direction::Forward) };
    let resume = tree.collect(&request, &mut items, &all_alive).unwrap();
    assert_eq!(resume, Some(Bound::Excluded(b"a".to_vec())));
    assert!(items.is_empty());
}

/// Scans ten keys of one frame; at the fifth leaf looked at, `times` times over, a writer takes the
/// first key away and puts another behind the last.
fn disturbed(times: usize) -> Vec<Vec<u8>> {
    let tree = new_tree();
    let value = Value { version: 1, death: None, data: Ok(Vec::new()) };
    for index in 0..10 {
        tree.writer(1).put(format!("k{index}").as_bytes(), &value.leaf()).unwrap();
    }
    let (looked_at, disturbances) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let alive = |_: &LeafMeta| {
        looked_at.set(looked_at.get() + 1);
        if looked_at.get() % 5 == 0 && disturbances.get() < times {
            let index = disturbances.replace(disturbances.get() + 1);
            tree.writer(1).remove(format!("k{index}").as_bytes()).unwrap();
            tree.writer(1).put(format!("k9{index}").as_bytes(), &value.leaf()).unwrap();
        }
        true
    };
    let mut items = Vec::new();
    tree.collect(&everything(Direction::Forward), &mut items, &alive).unwrap();
    let mut keys = Vec::new();
    for item in items {
        if let ScanItem::Leaf { key, .. } = item {
            keys.push(key);
        }
    }
    let now: Vec<_> = contents(&tree, Direction::Forward).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, now, "S1: one moment, not half of one and half of another");
    assert_eq!(disturbances.get(), times);
    keys
}

#[test]
fn a_run_that_a_writer_disturbs_is_taken_back() {
    assert_eq!(disturbed(1).len(), 10);
    // The last disturbance is the one after which the latch is taken.
    assert_eq!(disturbed(3).len(), 10);
}
