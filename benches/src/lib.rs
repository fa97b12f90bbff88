//! What the bench gates are made of: two measurements of one process, and a bound on their ratio.
//!
//! No gate knows an absolute time. The two sides are measured in turns, so that whatever else the
//! machine does falls on both, and each side is judged by its median.
#![forbid(unsafe_code)]

pub mod listing;

use std::fmt;
use std::time::Instant;

/// Turns that each side gets. Odd, so that the median is one of them.
const TURNS: usize = 41;

/// A ratio that must stay below a bound.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    /// What is compared, in words.
    pub name: &'static str,
    /// The ratio must be below it.
    pub bound: f64,
    /// Builds both sides and measures them.
    pub measure: fn() -> Result<Ratio, Box<dyn std::error::Error>>,
}

/// Every gate.
pub const GATES: &[Gate] = &[Gate {
    name: "list 10 children: a million keys below / a hundred",
    bound: 2.0,
    measure: listing::measure,
}];

/// Two medians of one run, in nanoseconds for one operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// The side that is judged.
    pub subject_ns: f64,
    /// The side that it is judged by.
    pub baseline_ns: f64,
}

impl Ratio {
    /// Subject over baseline.
    pub fn value(&self) -> f64 {
        self.subject_ns / self.baseline_ns
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} ns / {:.0} ns = {:.2}", self.subject_ns, self.baseline_ns, self.value())
    }
}

/// Measures both sides in turns; each call of a side is `operations` operations.
pub fn compare<E>(
    operations: u32,
    mut subject: impl FnMut() -> Result<(), E>,
    mut baseline: impl FnMut() -> Result<(), E>,
) -> Result<Ratio, E> {
    let mut sides = [Vec::with_capacity(TURNS), Vec::with_capacity(TURNS)];
    // The first turn of each side warms its caches and does not count.
    for turn in 0..=TURNS {
        let times = [timed(&mut subject)?, timed(&mut baseline)?];
        if turn > 0 {
            for (side, time) in sides.iter_mut().zip(times) {
                side.push(time / f64::from(operations));
            }
        }
    }
    let [subject, baseline] = sides;
    Ok(Ratio { subject_ns: median(subject), baseline_ns: median(baseline) })
}

fn timed<E>(side: &mut impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let started = Instant::now();
    side()?;
    Ok(started.elapsed().as_secs_f64() * 1e9)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_a_turn_that_something_else_disturbed() {
        assert!((median(vec![3.0, 1.0, 1e9, 2.0, 2.5]) - 2.5).abs() < f64::EPSILON);
    }

    #[test]
    fn both_sides_get_the_same_number_of_turns() {
        let (mut subject, mut baseline) = (0, 0);
        let ratio = compare::<()>(
            1,
            || {
                subject += 1;
                Ok(())
            },
            || {
                baseline += 1;
                Ok(())
            },
        );
        assert!(ratio.is_ok());
        assert_eq!((subject, baseline), (TURNS + 1, TURNS + 1));
    }
}
