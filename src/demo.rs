//! A server of our own as a child process, for `demo` and `loadgen bench`: real sockets and a
//! process that is measured apart from whoever loads it.
//!
//! The child ends when its standard input closes, so it never outlives its parent, however that
//! ends.

use crate::host::cores;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

/// The line by which a server says that clients can connect.
pub const READY: &str = "ready";
/// What stands before the address in the first line a server prints.
pub const LISTENS_ON: &str = " on ";

/// A server in a child process.
#[derive(Debug)]
pub struct ChildServer {
    child: Child,
    stdin: Option<ChildStdin>,
    /// The UDP address it listens on.
    pub address: SocketAddr,
}

impl ChildServer {
    /// Runs `command`, a server that prints its address and [`READY`] and ends with its standard
    /// input. Returns when clients can connect.
    ///
    /// # Errors
    /// If it cannot be started or ends before it is ready; its own message is on standard error.
    pub fn spawn(mut command: Command) -> Result<Self, String> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // Ctrl-C is for the parent, which still wants to ask the server how it went.
        command.process_group(0);
        let mut child =
            command.spawn().map_err(|error| format!("cannot start a server process: {error}"))?;
        let stdin = child.stdin.take();
        let output = child.stdout.take().ok_or("the server process has no standard output")?;
        let mut output = BufReader::new(output);
        let address = wait_until_ready(&mut output);
        let mut server = match address {
            Some(address) => Self { child, stdin, address },
            None => {
                drop(stdin);
                let _ = child.wait();
                return Err("the server did not start; its message is above".to_owned());
            }
        };
        if let Ok(Some(status)) = server.child.try_wait() {
            return Err(format!("the server ended at once: {status}"));
        }
        // A pipe that nobody reads would block the server once it is full.
        std::thread::spawn(move || std::io::copy(&mut output.by_ref(), &mut std::io::sink()));
        Ok(server)
    }

    /// Ends the server and waits for it.
    ///
    /// # Errors
    /// If it did not end in order.
    pub fn stop(mut self) -> Result<(), String> {
        self.stdin = None;
        match self.child.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("the server ended badly: {status}")),
            Err(error) => Err(format!("the server cannot be waited for: {error}")),
        }
    }
}

impl Drop for ChildServer {
    fn drop(&mut self) {
        self.stdin = None;
        // Waiting again after `stop` returns the same status at once.
        let _ = self.child.wait();
    }
}

fn wait_until_ready(output: &mut impl BufRead) -> Option<SocketAddr> {
    let mut address = None;
    for line in output.lines() {
        let line = line.ok()?;
        if line.starts_with(READY) {
            return address;
        }
        if address.is_none() {
            address = line.rsplit_once(LISTENS_ON).and_then(|(_, text)| text.parse().ok());
        }
    }
    None
}

/// Divides the cores that may be used between a server of `shards` shards and the bots that load
/// it: the first for the server, one per shard, the others for the bots, at least one. With one
/// core both share it.
pub fn divide_cores(list: Option<&str>, shards: usize) -> Result<(Vec<usize>, Vec<usize>), String> {
    let all = match list {
        Some(list) => cores::parse_list(list)?,
        None => cores::allowed(),
    };
    match all[..] {
        [] => Err("there is no core to run on".to_owned()),
        [only] => Ok((vec![only], vec![only])),
        _ => {
            let (server, bots) = all.split_at(shards.clamp(1, all.len() - 1));
            Ok((server.to_vec(), bots.to_vec()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_child_is_ready_when_it_says_so_and_ends_with_its_input() {
        let script = "echo 'tidelock 1 on 127.0.0.1:99'; echo 'ready; go'; cat >/dev/null";
        let server = ChildServer::spawn(shell(script)).unwrap();
        assert_eq!(server.address.port(), 99);
        server.stop().unwrap();
    }

    #[test]
    fn a_child_that_fails_is_an_error_not_a_hang() {
        assert!(ChildServer::spawn(shell("exit 3")).unwrap_err().contains("did not start"));
        assert!(ChildServer::spawn(Command::new("/nonexistent/server")).is_err());
        let script = "echo 'tidelock 1 on 127.0.0.1:99'; echo ready; cat >/dev/null; exit 3";
        assert!(ChildServer::spawn(shell(script)).unwrap().stop().is_err());
    }

    #[test]
    fn the_server_gets_the_first_cores_and_leaves_one_for_the_bots() {
        assert_eq!(divide_cores(Some("0,1"), 1), Ok((vec![0], vec![1])));
        assert_eq!(divide_cores(Some("3"), 1), Ok((vec![3], vec![3])));
        assert_eq!(divide_cores(Some("2-4"), 1), Ok((vec![2], vec![3, 4])));
        assert_eq!(divide_cores(Some("2-5"), 3), Ok((vec![2, 3, 4], vec![5])));
        assert_eq!(divide_cores(Some("0,1"), 2), Ok((vec![0], vec![1])));
    }
}
