//! The fuzz targets on a stable toolchain: every committed seed, and a fixed stream of random inputs.
//! It finds what is shallow; `cargo xtask fuzz` looks deeper.

use std::path::Path;

use treering_fuzz::TARGETS;

/// Random inputs for a target, unless [`FEWER`] says otherwise.
const INPUTS: usize = 2000;

/// Random inputs for targets whose inputs take milliseconds.
const FEWER: &[(&str, usize)] = &[("store_open", 400), ("crash_histories", 300)];

/// A generator of numbers that are the same on every run (xorshift64*).
struct Stream(u64);

impl Stream {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn input(&mut self) -> Vec<u8> {
        let length = self.next() % 3000;
        (0..length).map(|_| self.next().to_le_bytes()[7]).collect()
    }
}

#[test]
fn every_target_holds_on_a_fixed_stream_of_inputs() {
    for (name, target) in TARGETS {
        let mut stream = Stream(0x7ee_0001);
        let fewer = FEWER.iter().find(|(slow, _)| slow == name).map(|(_, inputs)| *inputs);
        for number in 0..fewer.unwrap_or(INPUTS) {
            let input = stream.input();
            let result = std::panic::catch_unwind(|| target(&input));
            assert!(result.is_ok(), "{name} fails on input {number} of the stream");
        }
        target(&[]);
    }
}

#[test]
fn every_target_holds_on_its_committed_seeds() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    for (name, target) in TARGETS {
        let folder = seeds.join(name);
        let mut files: Vec<_> = std::fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.expect("a readable folder").path())
            .collect();
        files.sort();
        assert!(!files.is_empty(), "{name} has no seed");
        for file in files {
            let bytes = std::fs::read(&file).expect("a readable seed");
            let result = std::panic::catch_unwind(|| target(&bytes));
            assert!(result.is_ok(), "{name} fails on {}", file.display());
        }
    }
}
