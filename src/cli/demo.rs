//! demo (placeholder until the swarm lands)
use std::process::ExitCode;
/// x
#[derive(Debug, clap::Args)]
pub(super) struct DemoArgs {}
pub(super) fn run(_: &DemoArgs) -> Result<ExitCode, String> {
    Err(String::new())
}
