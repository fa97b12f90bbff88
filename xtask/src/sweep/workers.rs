//! Cases shared out over threads, each under the eye of a watchdog. A case that panics is a violation like
//! any other; one that hangs ends the sweep, since nothing else can stop it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A case takes milliseconds; one that takes so long hangs.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often the watchdog looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Runs cases `0..count` on all processors; the results in no order. `label` says for people what a case is.
pub(super) fn run_all<T: Send>(
    count: usize,
    label: impl Fn(usize) -> String + Sync,
    case: impl Fn(usize) -> Result<T, String> + Sync,
) -> Vec<Result<T, String>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(count.max(1));
    let next = AtomicUsize::new(0);
    let done = AtomicBool::new(false);
    let results = Mutex::new(Vec::with_capacity(count));
    let under_way: Vec<Mutex<Option<(usize, Instant)>>> = (0..threads).map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        let workers: Vec<_> = under_way
            .iter()
            .map(|mine| {
                scope.spawn(|| {
                    // Relaxed: the counter alone decides who takes a case.
                    while let Some(index) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&i| i < count)
                    {
                        *lock(mine) = Some((index, Instant::now()));
                        let outcome =
                            guarded(|| case(index)).map_err(|what| format!("{}: {what}", label(index)));
                        *lock(mine) = None;
                        lock(&results).push(outcome);
                    }
                })
            })
            .collect();
        scope.spawn(|| watch(&under_way, &done, &label));
        for worker in workers {
            // A worker catches what its cases do; a panic of its own comes back when the scope ends.
            let _ = worker.join();
        }
        // Relaxed: the watchdog only has to see it some time.
        done.store(true, Ordering::Relaxed);
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Turns a panic into a violation.
fn guarded<T>(case: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(case)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("panicked: {}", text.unwrap_or("with no message")))
    })
}

fn watch(under_way: &[Mutex<Option<(usize, Instant)>>], done: &AtomicBool, label: &impl Fn(usize) -> String) {
    while !done.load(Ordering::Relaxed) {
        std::thread::sleep(LOOK_EVERY);
        for (index, since) in under_way.iter().filter_map(|one| *lock(one)) {
            if since.elapsed() > PATIENCE {
                eprintln!("xtask: a case hangs: {}", label(index));
                std::process::exit(1);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_runs_once_and_a_panic_is_a_violation_with_its_label() {
        let results = run_all(
            100,
            |index| format!("case {index}"),
            |index| {
                assert!(index != 7, "seven");
                if index == 9 { Err("nine".to_owned()) } else { Ok(index) }
            },
        );
        let (fine, mut bad): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!(fine.into_iter().flatten().sum::<usize>(), 99 * 50 - 7 - 9);
        bad.sort_by_key(|result| result.clone().err());
        assert_eq!(bad, [Err("case 7: panicked: seven".to_owned()), Err("case 9: nine".to_owned())]);
    }
}
