//! `sweep`: everything that can go wrong at one place, at every place: each byte and sector of small stores
//! damaged ([`damage`]), each operation of each scenario failing ([`errors`]). Exhaustive where the campaigns
//! draw lots; it knows nothing of two things going wrong at once.

mod damage;
mod dense;
mod errors;
mod ledger;
mod scenarios;
mod session;
mod workers;

use std::panic;
use std::time::Instant;

use crate::context::{Context, Outcome};
use crate::sim::{is_campaign_build, start_campaign_build};

/// The short form looks at every so-manieth byte, damage of a sector, and fault: primes, so that no two of
/// them keep step.
const SHORT: Strides = Strides { bytes: 67, sectors: 5, faults: 7 };
const LONG: Strides = Strides { bytes: 1, sectors: 1, faults: 1 };
/// Violations that are printed; their number is always told.
const SHOWN_MAX: usize = 40;

/// How much is left out; 1 for nothing.
#[derive(Clone, Copy, Debug)]
struct Strides {
    bytes: usize,
    sectors: usize,
    faults: usize,
}

/// What to sweep; both if neither is named.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Arguments {
    /// Damages every byte and every sector of small stores.
    #[arg(long)]
    damage: bool,
    /// Fails every operation of every scenario, in every way.
    #[arg(long)]
    errors: bool,
    /// A share of the cases, for a look in between.
    #[arg(long)]
    short: bool,
}

/// Sweeps, in a build with optimisations and assertions.
pub(crate) fn run(context: &Context, arguments: Arguments) -> Outcome {
    if !is_campaign_build() {
        return start_campaign_build(context);
    }
    // A panic is a finding of its case, which reports it.
    panic::set_hook(Box::new(|_| {}));
    let strides = if arguments.short { SHORT } else { LONG };
    let both = arguments.damage == arguments.errors;
    let mut violations = Vec::new();
    if both || arguments.damage {
        violations.extend(sweep_damage(strides));
    }
    if both || arguments.errors {
        violations.extend(sweep_errors(strides));
    }
    violations.iter().take(SHOWN_MAX).for_each(|what| println!("VIOLATION {what}"));
    if violations.is_empty() {
        Outcome::Passed
    } else {
        Outcome::Failed(format!("{} violations", violations.len()))
    }
}

fn sweep_damage(strides: Strides) -> Vec<String> {
    let began = Instant::now();
    let summaries = damage::sweep(strides.bytes, strides.sectors);
    let mut violations = Vec::new();
    for summary in summaries {
        println!("damage, {} store of {} bytes", summary.store, summary.bytes);
        println!("  {:<10} {:<16} {:>9} {:>9} {:>9}", "file", "damage", "harmless", "named", "torn tail");
        let mut sums = [0; 3];
        for ((file, kind), counts) in &summary.counts {
            let [harmless, named, torn] = counts;
            println!("  {file:<10} {kind:<16} {harmless:>9} {named:>9} {torn:>9}");
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        let [harmless, named, torn] = sums;
        println!("  {:<10} {:<16} {harmless:>9} {named:>9} {torn:>9}", "all", "");
        println!("  {} violations", summary.violations.len());
        violations.extend(summary.violations);
    }
    println!("  {:.0} s", began.elapsed().as_secs_f64());
    violations
}

fn sweep_errors(strides: Strides) -> Vec<String> {
    let began = Instant::now();
    let summary = errors::sweep(strides.faults);
    println!("I/O errors");
    println!("  {:<30} {:>10} {:>7} {:>7} {:>7}", "scenario", "operations", "cases", "hit", "failed");
    let mut sums = [0; 4];
    for line in &summary.lines {
        let counts = [line.operations, line.cases, line.hit, line.failed];
        let [operations, cases, hit, failed] = counts;
        println!("  {:<30} {operations:>10} {cases:>7} {hit:>7} {failed:>7}", line.scenario);
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    let [operations, cases, hit, failed] = sums;
    println!("  {:<30} {operations:>10} {cases:>7} {hit:>7} {failed:>7}", "all");
    println!("  {} violations, {:.0} s", summary.violations.len(), began.elapsed().as_secs_f64());
    summary.violations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_all_damage_is_named_or_harmless() {
        for summary in damage::sweep(613, 7) {
            assert_eq!(summary.violations, Vec::<String>::new(), "{} store", summary.store);
            assert!(summary.bytes <= 256 << 10, "{} bytes", summary.bytes);
            let named: u64 = summary.counts.values().map(|counts| counts[1]).sum();
            let torn: u64 = summary.counts.values().map(|counts| counts[2]).sum();
            assert!(named > 30, "{} store: {:?}", summary.store, summary.counts);
            assert_eq!(torn > 0, summary.store != "closed", "{:?}", summary.counts);
        }
    }

    #[test]
    fn a_share_of_all_faults_loses_nothing_that_was_acknowledged() {
        let summary = errors::sweep(17);
        assert_eq!(summary.violations, Vec::<String>::new());
        assert!(summary.lines.len() >= 12);
        for line in &summary.lines {
            assert!(line.operations > 0, "{} does nothing", line.scenario);
        }
        assert!(summary.lines.iter().map(|line| line.failed).sum::<u64>() > 300);
    }
}
