//! The parent's end of a floor server: starting it, asking it, ending it.

use super::FloorArgs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A running floor server. Dropping it ends the process.
pub(crate) struct FloorChild {
    process: Child,
    ask: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
}

/// The counts of a floor server since its start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FloorFigures {
    pub(crate) cpu_ns: u64,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) overruns: u64,
}

impl FloorChild {
    pub(crate) fn start(arguments: &FloorArgs) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("cannot start the floor server: {error}");
        let program = std::env::current_exe().map_err(failed)?;
        let mut process = Command::new(program)
            .arg("floor-server")
            .args(["--backend", arguments.backend.name()])
            .args(["--core", &arguments.core.to_string()])
            .args(["--players", &arguments.players.to_string()])
            .args(["--tick-rate", &arguments.tick_rate.to_string()])
            .args(["--bytes", &arguments.bytes.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (Some(ask), Some(out)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("the floor server has no standard input and output".to_owned());
        };
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
        let answers = BufReader::new(out);
        let mut child = Self { process, ask: Some(ask), answers, address };
        let line = child.line()?;
        let port = line.strip_prefix("ready ").and_then(|port| port.parse().ok());
        child.address.set_port(port.ok_or("the floor server did not start; see above")?);
        Ok(child)
    }

    /// Asks for the counts.
    pub(crate) fn figures(&mut self) -> Result<FloorFigures, String> {
        let Some(ask) = &mut self.ask else { return Err("the floor server has ended".to_owned()) };
        writeln!(ask, "figures").map_err(|error| format!("the floor server is gone: {error}"))?;
        let line = self.line()?;
        let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [cpu_ns, received, sent, overruns] = numbers[..] else {
            return Err(format!("the floor server answered `{line}`"));
        };
        Ok(FloorFigures { cpu_ns, received, sent, overruns })
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        let read = self.answers.read_line(&mut line);
        read.map_err(|error| format!("the floor server is gone: {error}"))?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for FloorChild {
    fn drop(&mut self) {
        // The end of its input ends it; killing it as well makes sure that waiting comes to an end.
        self.ask = None;
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
