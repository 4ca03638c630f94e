//! The `loadgen` command: load for a Tidelock server, a benchmark against the floor, bad networks
//! and attacks.
#![forbid(unsafe_code)]

mod attack;
mod bench;
mod cli;
mod floor;
mod impair;
mod run;
mod server;

use std::process::ExitCode;
use tidelock::host::cpu;

fn main() -> ExitCode {
    // First of all: the next line may already need an instruction that an old CPU does not have.
    let missing = cpu::missing_features();
    if !missing.is_empty() {
        tidelock::cli::complain(&cpu::refusal(&missing));
        return ExitCode::FAILURE;
    }
    cli::dispatch()
}
