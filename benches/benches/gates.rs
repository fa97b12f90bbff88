//! The bench gates: prints each ratio and fails if one is not below its bound. A name on the
//! command line runs only the gates whose name contains it.

use std::process::ExitCode;

use treering_benches::GATES;

fn main() -> ExitCode {
    // Cargo adds `--bench`.
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let mut verdict = ExitCode::SUCCESS;
    for gate in GATES.iter().filter(|gate| only.as_ref().is_none_or(|only| gate.name.contains(only.as_str())))
    {
        match (gate.measure)() {
            Ok(ratio) if ratio.value() < gate.bound => {
                println!("{}: {ratio}, below {}", gate.name, gate.bound);
            }
            Ok(ratio) => {
                println!("{}: {ratio}, NOT below {}", gate.name, gate.bound);
                verdict = ExitCode::FAILURE;
            }
            Err(error) => {
                println!("{}: FAILED: {error}", gate.name);
                verdict = ExitCode::FAILURE;
            }
        }
    }
    verdict
}
