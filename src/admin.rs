//! The admin socket: a local Unix socket, one request per connection, one line of JSON in answer.
//!
//! Requests are words: `stats` (the state of the server), `mark` (start a new window of quantiles,
//! then the state). Only the owner of the server may connect (mode 0600). The server's end never
//! waits for a slow client; the client's end is for `loadgen`, `demo` and `tidelock stats`.

use crate::report::Stats;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, mem};

/// Requests that may wait for their answer at a time; the next ones are refused.
const WAITING_MAX: usize = 16;
/// Longest request.
const REQUEST_MAX: usize = 64;

/// What may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The state of the server.
    Stats,
    /// Start a new window of quantiles; answers with the state before it.
    Mark,
}

impl Request {
    fn word(self) -> &'static str {
        match self {
            Self::Stats => "stats",
            Self::Mark => "mark",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::Stats, Self::Mark].into_iter().find(|request| request.word() == word)
    }
}

/// The server's end.
#[derive(Debug)]
pub struct AdminListener {
    listener: UnixListener,
    path: PathBuf,
    waiting: Vec<(UnixStream, Request)>,
}

impl AdminListener {
    /// Listens at `path`. The port's lock guarantees that a socket found there is a dead server's.
    pub fn bind(path: &Path) -> Result<Self, String> {
        let failed = |error: io::Error| {
            format!("cannot listen on the admin socket {}: {error}", path.display())
        };
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned(), waiting: Vec::with_capacity(WAITING_MAX) })
    }

    /// Accepts requests; tells whether somebody waits for an answer.
    pub fn poll(&mut self) -> bool {
        while self.waiting.len() < WAITING_MAX {
            let Ok((stream, _)) = self.listener.accept() else { break };
            if let Some(request) = read_request(&stream) {
                self.waiting.push((stream, request));
            }
        }
        !self.waiting.is_empty()
    }

    /// Whether one of the waiting asked for a new window.
    pub fn wants_mark(&self) -> bool {
        self.waiting.iter().any(|(_, request)| *request == Request::Mark)
    }

    /// Answers everybody who waits.
    pub fn answer(&mut self, stats: &Stats) {
        let mut line = stats.to_json();
        line.push('\n');
        for (mut stream, _) in mem::take(&mut self.waiting) {
            // A client that went away, or reads nothing, gets nothing.
            let _ = stream.write_all(line.as_bytes());
        }
    }
}

impl Drop for AdminListener {
    fn drop(&mut self) {
        // The file is of no use to anybody now; if it is gone already, so much the better.
        let _ = fs::remove_file(&self.path);
    }
}

/// Reads the request of a new connection. A client has 50 ms to say what it wants.
fn read_request(mut stream: &UnixStream) -> Option<Request> {
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(Duration::from_millis(50))).ok()?;
    stream.set_write_timeout(Some(Duration::from_millis(50))).ok()?;
    let mut bytes = [0; REQUEST_MAX];
    let mut len = 0;
    while len < REQUEST_MAX && !bytes[..len].contains(&b'\n') {
        match stream.read(&mut bytes[len..]) {
            Ok(read) if read > 0 => len += read,
            _ => break,
        }
    }
    let request =
        std::str::from_utf8(&bytes[..len]).ok().and_then(|word| Request::from_word(word.trim()));
    if request.is_none() {
        let _ = stream.write_all(b"{\"error\":\"unknown request; there are: stats, mark\"}\n");
    }
    request
}

/// Asks the server whose admin socket is at `path`.
pub fn ask(path: &Path, request: Request) -> Result<Stats, String> {
    let failed = |error: io::Error| {
        format!(
            "no server answers at the admin socket {}: {error}. Is it running, as the same user \
             and with the same --run-dir?",
            path.display()
        )
    };
    let mut stream = UnixStream::connect(path).map_err(failed)?;
    stream.set_read_timeout(Some(Duration::from_secs(3))).map_err(failed)?;
    stream.write_all(format!("{}\n", request.word()).as_bytes()).map_err(failed)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).map_err(failed)?;
    Stats::from_json(&line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn requests_are_answered_and_nonsense_is_refused() {
        let path = std::env::temp_dir().join(format!("tidelock-admin-{}.sock", std::process::id()));
        fs::write(&path, "left over from a dead server").unwrap();
        let mut listener = AdminListener::bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let client = {
            let path = path.clone();
            thread::spawn(move || {
                let mut nonsense = UnixStream::connect(&path).unwrap();
                nonsense.write_all(b"format c:\n").unwrap();
                let mut text = String::new();
                nonsense.read_to_string(&mut text).unwrap();
                (text, ask(&path, Request::Mark))
            })
        };
        while !listener.poll() {
            thread::sleep(Duration::from_millis(1));
        }
        assert!(listener.wants_mark());
        let stats = Stats { tick_hz: 60, ..Stats::default() };
        listener.answer(&stats);
        let (refusal, answer) = client.join().expect("no panic");
        assert!(refusal.contains("unknown request"), "{refusal}");
        assert_eq!(answer, Ok(stats));
        drop(listener);
        assert!(ask(&path, Request::Stats).unwrap_err().contains("admin socket"));
    }
}
