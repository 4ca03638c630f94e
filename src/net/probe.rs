//! Choosing the backend at start, by trying it: every feature that `uring` needs is used once on a
//! loopback socket. A version number would say less: containers, seccomp filters, sysctls and
//! limits forbid io_uring on kernels that have it.

use super::socket::bind_alone;
use super::uring::UringPort;
use super::{Backend, Port, PortConfig};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

/// What the operator asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoChoice {
    /// io_uring if it works here, else mmsg.
    #[default]
    Auto,
    /// io_uring or nothing.
    Uring,
    /// recvmmsg and sendmmsg.
    Mmsg,
}

impl IoChoice {
    /// The accepted words.
    pub const WORDS: [&'static str; 3] = ["auto", "uring", "mmsg"];
}

impl FromStr for IoChoice {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "auto" => Ok(Self::Auto),
            "uring" => Ok(Self::Uring),
            "mmsg" => Ok(Self::Mmsg),
            _ => Err(format!("`{word}` is none of {}", Self::WORDS.join(", "))),
        }
    }
}

/// The backend to use, and why if it is not the default one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The backend.
    pub backend: Backend,
    /// With `auto`, why io_uring does not work here: one sentence to print as a warning.
    pub fallback: Option<String>,
}

/// io_uring was asked for and does not work here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UringUnavailable(String);

impl fmt::Display for UringUnavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} Use `--io auto` or `--io mmsg` to run without it.", self.0)
    }
}

impl std::error::Error for UringUnavailable {}

/// Chooses the backend for ports of the sizes in `config`, trying io_uring with them on the calling
/// thread unless mmsg was asked for.
pub fn choose_backend(choice: IoChoice, config: &PortConfig) -> Result<Chosen, UringUnavailable> {
    if choice == IoChoice::Mmsg {
        return Ok(Chosen { backend: Backend::Mmsg, fallback: None });
    }
    match (try_uring(config), choice) {
        (Ok(()), _) => Ok(Chosen { backend: Backend::Uring, fallback: None }),
        (Err(error), IoChoice::Uring) => Err(UringUnavailable(explain(&error))),
        (Err(error), _) => Ok(Chosen { backend: Backend::Mmsg, fallback: Some(explain(&error)) }),
    }
}

/// Sends one datagram from a port to itself.
fn try_uring(config: &PortConfig) -> io::Result<()> {
    let config = PortConfig { send_slots: 1, ..*config };
    let (socket, _) = bind_alone(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), 1 << 16, 1 << 16)
        .or_else(|_| bind_alone(SocketAddr::from((Ipv6Addr::LOCALHOST, 0)), 1 << 16, 1 << 16))?;
    let mut port = UringPort::new(socket, &config)?;
    const PROBE: &[u8] = b"does io_uring work here?";
    port.send_buffer(0)[..PROBE.len()].copy_from_slice(PROBE);
    port.send_push(0, PROBE.len(), port.local_address());
    if port.flush()?.sent != 1 {
        return Err(io::Error::other("a send was refused"));
    }
    let mut echoed = false;
    for _ in 0..10 {
        port.receive(1, Duration::from_millis(100), &mut |batch| {
            echoed |= batch.iter().any(|datagram| datagram.payload == PROBE);
        })?;
        if echoed {
            return Ok(());
        }
    }
    Err(io::Error::other("a datagram sent to ourselves did not arrive within a second"))
}

/// The error as a sentence that names the likely cause and the fix.
fn explain(error: &io::Error) -> String {
    let cause = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "it is forbidden here; as root: sysctl -w kernel.io_uring_disabled=0, and in a \
             container allow the io_uring system calls in the seccomp profile"
        }
        Some(libc::ENOSYS) => "this kernel is built without it, or a seccomp profile hides it",
        Some(libc::EINVAL) => "this kernel lacks a feature that Linux 6.1 has",
        Some(libc::ENOMEM) => {
            "the locked-memory limit is too low; raise it with `ulimit -l` or LimitMEMLOCK="
        }
        _ => "unexpected",
    };
    format!("io_uring does not work here: {error} ({cause}).")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: PortConfig =
        PortConfig { receive_buffers: 8, send_slots: 1, submission_entries: 8 };

    #[test]
    fn the_words_of_the_option_are_understood_and_a_wrong_one_names_them() {
        for word in IoChoice::WORDS {
            assert!(word.parse::<IoChoice>().is_ok());
        }
        let error = "epoll".parse::<IoChoice>().unwrap_err();
        assert!(IoChoice::WORDS.iter().all(|word| error.contains(word)), "{error}");
    }

    #[test]
    fn a_forbidden_ring_names_the_sysctl() {
        let text = explain(&io::Error::from_raw_os_error(libc::EPERM));
        assert!(text.contains("kernel.io_uring_disabled=0"), "{text}");
    }

    #[test]
    fn mmsg_is_chosen_when_asked_for_and_auto_always_chooses_something() {
        assert_eq!(choose_backend(IoChoice::Mmsg, &SMALL).unwrap().backend, Backend::Mmsg);
        let chosen = choose_backend(IoChoice::Auto, &SMALL).unwrap();
        assert_eq!(chosen.fallback.is_some(), chosen.backend == Backend::Mmsg);
    }
}
