//! Memory stays within its caps: a shard holds what it held at its start, its entities fit its
//! columns, and a client stays small.

use super::Verdict;

const CHECK: &str = "memory <= caps";
/// Bytes that one client may hold, with as many entities in sight as there can be and a history of
/// each; see `client`.
const CLIENT_MAX: usize = 1 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Holdings;

impl Holdings {
    /// Bytes of a shard at its start and now, its entities, and how many it may have.
    pub(crate) fn shard(&self, [at_start, now, entities, room]: [usize; 4]) -> Verdict {
        if now > at_start {
            return Err((CHECK, format!("a shard grew from {at_start} to {now} bytes")));
        }
        if entities > room {
            return Err((CHECK, format!("{entities} entities in a shard for {room}")));
        }
        Ok(())
    }

    /// Bytes of a client.
    pub(crate) fn client(&self, bytes: usize) -> Verdict {
        if bytes > CLIENT_MAX {
            return Err((CHECK, format!("a client holds {bytes} bytes")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_grows_is_found() {
        assert_eq!(Holdings.shard([100, 100, 8, 8]), Ok(()));
        assert!(Holdings.shard([100, 101, 8, 8]).is_err());
        assert!(Holdings.shard([100, 100, 9, 8]).is_err());
        assert!(Holdings.client(20_000).is_ok() && Holdings.client(2 << 20).is_err());
    }
}
