//! The `tidelock` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use tidelock::{cli, host};

fn main() -> ExitCode {
    // First of all: the next line may already need an instruction that an old CPU does not have.
    let missing = host::cpu::missing_features();
    if !missing.is_empty() {
        cli::complain(&host::cpu::refusal(&missing));
        return ExitCode::FAILURE;
    }
    cli::run()
}
