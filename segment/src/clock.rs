//! The real clock and the real randomness. Nothing below the engine uses them unless they are
//! handed in through an [`Environment`](crate::storage::Environment).
#![expect(clippy::disallowed_methods, reason = "this file is the one home of clocks and randomness")]

use std::io;

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::storage::{Clock, Entropy};

/// The operating system's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// A clock that goes on while the machine is suspended, where the system has one.
#[cfg(any(target_os = "linux", target_os = "android"))]
const SINCE_BOOT: ClockId = ClockId::Boottime;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const SINCE_BOOT: ClockId = ClockId::Monotonic;

impl Clock for SystemClock {
    fn boot_ms(&self) -> u64 {
        milliseconds(clock_gettime(SINCE_BOOT))
    }

    fn wall_ms(&self) -> u64 {
        milliseconds(clock_gettime(ClockId::Realtime))
    }
}

/// Whole milliseconds; a time before the epoch counts as the epoch.
fn milliseconds(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1000).saturating_add(nanoseconds / 1_000_000)
}

/// The operating system's random source.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn fill(&self, buffer: &mut [u8]) -> io::Result<()> {
        use rustix::rand::{GetRandomFlags, getrandom};

        let mut filled = 0;
        while filled < buffer.len() {
            match getrandom(&mut buffer[filled..], GetRandomFlags::empty()) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => filled += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn fill(&self, buffer: &mut [u8]) -> io::Result<()> {
        use std::io::Read;
        std::fs::File::open("/dev/urandom")?.read_exact(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_before_the_epoch_counts_as_the_epoch() {
        assert_eq!(milliseconds(Timespec { tv_sec: -5, tv_nsec: 0 }), 0);
        assert_eq!(milliseconds(Timespec { tv_sec: 3, tv_nsec: 7_900_000 }), 3007);
    }

    #[test]
    fn boot_clock_never_goes_back_and_wall_clock_is_past_2020() {
        let clock = SystemClock;
        let first = clock.boot_ms();
        assert!(first > 0);
        assert!(clock.boot_ms() >= first);
        assert!(clock.wall_ms() > 1_577_836_800_000);
    }

    #[test]
    fn two_draws_of_random_bytes_differ() {
        let (mut one, mut two) = ([0; 32], [0; 32]);
        OsEntropy.fill(&mut one).unwrap();
        OsEntropy.fill(&mut two).unwrap();
        assert_ne!(one, two);
        OsEntropy.fill(&mut []).unwrap();
    }
}
