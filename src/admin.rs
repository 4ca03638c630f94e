//! The admin socket: a local Unix socket, one request per connection, one line of JSON in answer.
//!
//! Requests are words: `stats` (the state of the server), `mark` (start a new window of quantiles,
//! then the state), `explain PLAYER [ENTITY]` (why the player was told what), `waf list`, `waf lift
//! PLAYER`, `waf ban PLAYER [SECONDS]` and `waf kick PLAYER REASON` (the rules). Only the owner of
//! the server may connect (mode 0600). A request ends with its line: half an order is none. The
//! server's end waits 50 ms for a slow client and no longer; the client's end is for `loadgen`,
//! `demo`, `tidelock stats` and `tidelock explain`.

mod waf;

pub use waf::{WafRequest, waf_order, waf_report};

use crate::report::Stats;
use crate::report::explain::ExplainReport;
use crate::units::EntityId;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fmt, fs};

/// Requests that may wait for their answer at a time; the next ones are read when there is room.
const WAITING_MAX: usize = 16;
/// How long a client may take to say what it wants, and to read the answer.
const PATIENCE: Duration = Duration::from_millis(50);
/// Longest request.
const REQUEST_MAX: usize = 64;

/// What may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The state of the server.
    Stats,
    /// Start a new window of quantiles; answers with the state before it.
    Mark,
    /// Why a player was told what, of all it sees or of one entity.
    Explain {
        /// The player.
        player: u64,
        /// The entity.
        entity: Option<EntityId>,
    },
    /// About the rules, or an order to them.
    Waf(WafRequest),
}

/// The request as it is sent.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stats => write!(f, "stats"),
            Self::Mark => write!(f, "mark"),
            Self::Waf(request) => write!(f, "waf {request}"),
            Self::Explain { player, entity: None } => write!(f, "explain {player}"),
            Self::Explain { player, entity: Some(entity) } => {
                write!(f, "explain {player} {}", entity.0)
            }
        }
    }
}

impl Request {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let request = match words.next()? {
            "stats" => Self::Stats,
            "mark" => Self::Mark,
            "waf" => Self::Waf(WafRequest::parse(&mut words)?),
            "explain" => {
                let player = words.next()?.parse().ok()?;
                let entity = words.next().map(|word| word.parse().map(EntityId));
                Self::Explain { player, entity: entity.transpose().ok()? }
            }
            _ => return None,
        };
        words.next().is_none().then_some(request)
    }
}

/// Names a request that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

#[derive(Debug)]
struct Waiting {
    stream: UnixStream,
    request: Request,
    ticket: Ticket,
}

/// An answer that says why there is none.
#[derive(Serialize, Deserialize)]
struct Refusal {
    error: String,
}

/// The server's end.
#[derive(Debug)]
pub struct AdminListener {
    listener: UnixListener,
    path: PathBuf,
    waiting: Vec<Waiting>,
    /// Requests so far.
    tickets: u64,
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
        let waiting = Vec::with_capacity(WAITING_MAX);
        Ok(Self { listener, path: path.to_owned(), waiting, tickets: 0 })
    }

    /// Accepts requests; tells whether somebody waits for an answer.
    pub fn poll(&mut self) -> bool {
        while self.waiting.len() < WAITING_MAX {
            let Ok((stream, _)) = self.listener.accept() else { break };
            if let Some(request) = read_request(&stream) {
                self.tickets += 1;
                self.waiting.push(Waiting { stream, request, ticket: Ticket(self.tickets) });
            }
        }
        !self.waiting.is_empty()
    }

    /// Whether one of the waiting asked for the state of the server.
    pub fn wants_stats(&self) -> bool {
        self.waiting.iter().any(|waiting| is_about_stats(waiting.request))
    }

    /// Whether one of the waiting asked for a new window.
    pub fn wants_mark(&self) -> bool {
        self.waiting.iter().any(|waiting| waiting.request == Request::Mark)
    }

    /// Who waits for an explanation, of which player and entity.
    pub fn questions(&self) -> impl Iterator<Item = (Ticket, u64, Option<EntityId>)> {
        self.waiting.iter().filter_map(|waiting| match waiting.request {
            Request::Explain { player, entity } => Some((waiting.ticket, player, entity)),
            Request::Stats | Request::Mark | Request::Waf(_) => None,
        })
    }

    /// Who waits for an answer about the rules.
    pub fn waf_requests(&self) -> Vec<(Ticket, WafRequest)> {
        let about_rules = |waiting: &Waiting| match waiting.request {
            Request::Waf(request) => Some((waiting.ticket, request)),
            Request::Stats | Request::Mark | Request::Explain { .. } => None,
        };
        self.waiting.iter().filter_map(about_rules).collect()
    }

    /// Answers everybody who waits for the state of the server.
    pub fn answer(&mut self, stats: &Stats) {
        let json = stats.to_json();
        self.waiting
            .extract_if(.., |waiting| is_about_stats(waiting.request))
            .for_each(|waiting| put_line(waiting.stream, json.clone()));
    }

    /// Answers one request with a line of JSON.
    pub fn reply(&mut self, ticket: Ticket, json: String) {
        if let Some(place) = self.waiting.iter().position(|waiting| waiting.ticket == ticket) {
            put_line(self.waiting.swap_remove(place).stream, json);
        }
    }

    /// Answers one request by saying why there is no answer.
    pub fn refuse(&mut self, ticket: Ticket, error: &str) {
        self.reply(ticket, refusal(error));
    }
}

fn is_about_stats(request: Request) -> bool {
    matches!(request, Request::Stats | Request::Mark)
}

fn refusal(error: &str) -> String {
    let refusal = Refusal { error: error.to_owned() };
    serde_json::to_string(&refusal).expect("a string")
}

/// A client that went away, or reads nothing, gets nothing.
fn put_line(mut stream: UnixStream, mut json: String) {
    json.push('\n');
    let _ = stream.write_all(json.as_bytes());
}

impl Drop for AdminListener {
    fn drop(&mut self) {
        // The file is of no use to anybody now; if it is gone already, so much the better.
        let _ = fs::remove_file(&self.path);
    }
}

/// Reads the request of a new connection, a whole line.
fn read_request(mut stream: &UnixStream) -> Option<Request> {
    let begun = Instant::now();
    stream.set_nonblocking(false).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    let mut bytes = [0; REQUEST_MAX];
    let mut len = 0;
    while len < REQUEST_MAX && !bytes[..len].contains(&b'\n') {
        let left = PATIENCE.saturating_sub(begun.elapsed());
        if left.is_zero() {
            break;
        }
        stream.set_read_timeout(Some(left)).ok()?;
        match stream.read(&mut bytes[len..]) {
            Ok(read) if read > 0 => len += read,
            _ => break,
        }
    }
    // Without its end, `ban 7 3600` might have arrived as `ban 7`.
    let line = bytes[..len].strip_suffix(b"\n");
    let request = line.and_then(|line| std::str::from_utf8(line).ok()).and_then(Request::parse);
    if request.is_none() {
        let known = "unknown request, or no whole line; there are: stats, mark, explain PLAYER \
                     [ENTITY], waf list, waf lift PLAYER, waf ban PLAYER [SECONDS], waf kick \
                     PLAYER REASON";
        let _ = stream.write_all(format!("{}\n", refusal(known)).as_bytes());
    }
    request
}

/// Asks the server whose admin socket is at `path` for its state. `request` is
/// [`Request::Stats`] or [`Request::Mark`].
pub fn ask(path: &Path, request: Request) -> Result<Stats, String> {
    Stats::from_json(&exchange(path, request)?)
}

/// Asks the server whose admin socket is at `path` why `player` was told what.
pub fn explain(
    path: &Path,
    player: u64,
    entity: Option<EntityId>,
) -> Result<ExplainReport, String> {
    ExplainReport::from_json(&exchange(path, Request::Explain { player, entity })?)
}

/// One request and its answer; a refusal is an error.
fn exchange(path: &Path, request: Request) -> Result<String, String> {
    let failed = |error: io::Error| {
        format!(
            "no server answers at the admin socket {}: {error}. Is it running, as the same user \
             and with the same --run-dir?",
            path.display()
        )
    };
    let mut stream = UnixStream::connect(path).map_err(failed)?;
    stream.set_read_timeout(Some(Duration::from_secs(3))).map_err(failed)?;
    stream.write_all(format!("{request}\n").as_bytes()).map_err(failed)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).map_err(failed)?;
    match serde_json::from_str(&line) {
        Ok(Refusal { error }) => Err(error),
        Err(_) => Ok(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::DisconnectReason;
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
        assert!(listener.wants_mark() && listener.wants_stats());
        let stats = Stats { tick_hz: 60, ..Stats::default() };
        listener.answer(&stats);
        let (refusal, answer) = client.join().expect("no panic");
        assert!(refusal.contains("unknown request"), "{refusal}");
        assert_eq!(answer, Ok(stats));
        drop(listener);
        assert!(ask(&path, Request::Stats).unwrap_err().contains("admin socket"));
    }

    #[test]
    fn half_an_order_is_none_and_nobody_who_is_slow_holds_up_the_server() {
        let path = std::env::temp_dir().join(format!("tidelock-half-{}", std::process::id()));
        let mut listener = AdminListener::bind(&path).unwrap();
        let mut half = UnixStream::connect(&path).unwrap();
        half.write_all(b"waf ban 7").unwrap();
        let mut long = UnixStream::connect(&path).unwrap();
        long.write_all(format!("waf ban 7 {:>60}\n", 3_600).as_bytes()).unwrap();
        let mut slow = UnixStream::connect(&path).unwrap();
        let drip = thread::spawn(move || {
            let mut drops = 0;
            while slow.write_all(b" ").is_ok() {
                drops += 1;
                thread::sleep(PATIENCE / 4);
            }
            drops
        });
        assert!(!listener.poll(), "nobody has asked for anything: {:?}", listener.waf_requests());
        drop(listener);
        let drops = drip.join().expect("no panic");
        assert!(drops < REQUEST_MAX, "{drops} drops of a request were waited for");
        for mut stream in [half, long] {
            let mut text = String::new();
            // What was sent and never read makes the end of the answer an error.
            let _ = stream.read_to_string(&mut text);
            assert!(text.contains("no whole line"), "{text}");
        }
    }

    #[test]
    fn requests_are_read_as_they_are_written_and_no_other_way() {
        let entity = |id| Some(EntityId(id));
        let (player, most) = (7, u64::MAX);
        for request in [
            Request::Stats,
            Request::Mark,
            Request::Explain { player, entity: None },
            Request::Explain { player: most, entity: entity(u32::MAX) },
            Request::Waf(WafRequest::List),
            Request::Waf(WafRequest::Lift(most)),
            Request::Waf(WafRequest::Ban(most, None)),
            Request::Waf(WafRequest::Ban(most, Some(u32::MAX))),
            Request::Waf(WafRequest::Kick(most, DisconnectReason::Maintenance)),
        ] {
            let line = format!("{request}\n");
            assert!(line.len() <= REQUEST_MAX);
            assert_eq!(Request::parse(&line), Some(request), "{line}");
        }
        for line in ["", "stats 1", "explain", "explain x", "explain 7 x", "explain 7 8 9"] {
            assert_eq!(Request::parse(line), None, "{line}");
        }
        for words in ["", "list 1", "lift", "ban x", "ban 7 x", "ban 7 8 9", "kick 7", "kick 7 x"] {
            assert_eq!(Request::parse(&format!("waf {words}")), None, "{words}");
        }
    }

    #[test]
    fn answers_reach_whoever_asked_and_leave_the_others_waiting() {
        let path = std::env::temp_dir().join(format!("tidelock-tickets-{}", std::process::id()));
        let mut listener = AdminListener::bind(&path).unwrap();
        let asks = [3, 4].map(|player| {
            let path = path.clone();
            thread::spawn(move || explain(&path, player, None))
        });
        while listener.questions().count() < 2 {
            listener.poll();
        }
        assert!(!listener.wants_stats());
        listener.answer(&Stats::default());
        for (ticket, player, _) in listener.questions().collect::<Vec<_>>() {
            match player {
                3 => listener.refuse(ticket, "a \"quoted\" reason"),
                _ => {
                    listener.reply(ticket, ExplainReport { player, ..Default::default() }.to_json())
                }
            }
        }
        let [third, fourth] = asks.map(|ask| ask.join().expect("no panic"));
        assert_eq!(third, Err("a \"quoted\" reason".to_owned()));
        assert_eq!(fourth.map(|report| report.player), Ok(4));
        assert_eq!(listener.questions().count(), 0);
    }
}
