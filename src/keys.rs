//! Key files and the tokens made with them: `tidelock keygen`, `tidelock token`, `--dev`.
//!
//! Two files are written side by side. The server's holds its static secret; the backend's holds
//! what is needed to mint tokens and nothing that could impersonate the server. Nothing here reads
//! a clock or a random source: both are arguments.

use crate::client::Ticket;
use crate::crypto::integrity::KeyTable;
use crate::crypto::noise::StaticKeys;
use crate::crypto::token::{Token, TokenAddress, TokenHead, TokenKind, seal_token};
use crate::limits::INTEGRITY_KEYS_MAX;
use crate::time::Entropy;
use crate::wire::PublicToken;
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// What a backend needs to mint tokens for one server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendKeys {
    /// Names the game and its build; clients of another are ignored.
    #[serde(with = "hex_u64")]
    pub protocol_id: u64,
    /// Which world of the game.
    pub realm: u32,
    /// Which of the server's token keys this is.
    pub token_key_id: u32,
    /// Seals tokens.
    pub token_key: Secret,
    /// What clients pin.
    #[serde(with = "hex::serde")]
    pub server_public: [u8; 32],
}

/// What a server needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerKeys {
    /// The server's static secret.
    pub server_secret: Secret,
    /// What its backend has.
    #[serde(flatten)]
    pub backend: BackendKeys,
}

/// 32 secret bytes: hexadecimal in files, never in `Debug`, erased on drop.
#[derive(Clone, PartialEq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct Secret(#[serde(with = "hex::serde")] pub [u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What a client receives from its backend over HTTPS. `tidelock token` prints it as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TicketFile {
    /// UDP addresses of the server.
    pub servers: Vec<String>,
    /// Goes into the Connect packet as it is.
    #[serde(with = "hex_u64")]
    pub protocol_id: u64,
    /// The server's static public key.
    #[serde(with = "hex::serde")]
    pub server_public: [u8; 32],
    /// 1 ConnectToken.
    pub token_kind: u8,
    /// Goes into the Connect packet as it is.
    pub token_key_id: u32,
    /// Goes into the Connect packet as it is.
    #[serde(with = "hex::serde")]
    pub token_nonce: [u8; 24],
    /// Unix seconds.
    pub token_expiry: u64,
    /// Goes into the Connect packet as it is.
    #[serde(with = "hex_sealed")]
    pub sealed_token: [u8; 272],
    /// The pre-shared secret of the handshake.
    pub psk: Secret,
}

/// What a token says about its player.
#[derive(Clone, Copy, Debug)]
pub struct TicketRequest {
    /// Whose token it is.
    pub player: u64,
    /// Where the player starts, centimetres; `None` lets the server choose.
    pub spawn: Option<[i32; 3]>,
    /// Seconds until it expires, at most 60.
    pub ttl_s: u64,
}

/// The integrity keys of one build as a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyTableFile {
    build: u32,
    keys: Vec<Secret>,
}

/// Reads the integrity keys of a build.
pub fn load_key_table(path: &Path) -> Result<KeyTable, String> {
    let KeyTableFile { build, keys } = parse(path)?;
    let keys = keys.iter().map(|key| key.0).collect();
    KeyTable::new(build, keys)
        .ok_or_else(|| format!("{} has no keys, or more than {INTEGRITY_KEYS_MAX}", path.display()))
}

/// Writes them, readable by their owner alone; an existing file is never overwritten.
pub fn save_key_table(table: &KeyTable, path: &Path) -> Result<(), String> {
    let keys = table.keys().iter().map(|key| Secret(*key)).collect();
    let comment = "# Tidelock integrity keys of one build: for the server, and for that build.\n";
    write_private(path, comment, &KeyTableFile { build: table.build(), keys }, false)
}

impl ServerKeys {
    /// Fresh keys.
    pub fn generate(entropy: &mut dyn Entropy) -> Self {
        let (mut secret, mut token_key, mut protocol_id) = ([0; 32], [0; 32], [0; 8]);
        entropy.fill(&mut secret);
        entropy.fill(&mut token_key);
        entropy.fill(&mut protocol_id);
        Self {
            server_secret: Secret(secret),
            backend: BackendKeys {
                protocol_id: u64::from_le_bytes(protocol_id),
                realm: 1,
                token_key_id: 1,
                token_key: Secret(token_key),
                server_public: StaticKeys::from_secret(secret).public,
            },
        }
    }

    /// The key pair, checked against the public key in the file.
    pub fn static_keys(&self) -> Result<StaticKeys, String> {
        let keys = StaticKeys::from_secret(self.server_secret.0);
        if keys.public != self.backend.server_public {
            return Err(
                "server_public does not belong to server_secret: the file was edited or mixed \
                        from two; make new keys with `tidelock keygen`"
                    .to_owned(),
            );
        }
        Ok(keys)
    }

    /// Reads a server's key file.
    pub fn load(path: &Path) -> Result<Self, String> {
        let keys: Self = parse(path)?;
        keys.static_keys().map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(keys)
    }

    /// Writes the file, readable by its owner alone; an existing one is replaced only if `replace`.
    pub fn save(&self, path: &Path, replace: bool) -> Result<(), String> {
        write_private(
            path,
            "# Tidelock server keys. Secret: whoever has them is the server.\n",
            self,
            replace,
        )
    }
}

impl BackendKeys {
    /// Reads a backend's key file, or the backend's part of a server's.
    pub fn load(path: &Path) -> Result<Self, String> {
        match parse::<ServerKeys>(path) {
            Ok(keys) => Ok(keys.backend),
            Err(_) => parse(path),
        }
    }

    /// Writes the file, readable by its owner alone; an existing one is replaced only if `replace`.
    pub fn save(&self, path: &Path, replace: bool) -> Result<(), String> {
        write_private(path, "# Tidelock backend keys. Secret: they mint tokens.\n", self, replace)
    }

    /// Mints a token and everything else its client needs. `now_ms` is unix time.
    pub fn mint(
        &self,
        request: &TicketRequest,
        now_ms: u64,
        entropy: &mut dyn Entropy,
    ) -> TicketFile {
        let (mut token_id, mut psk, mut nonce) = ([0; 16], [0; 32], [0; 24]);
        entropy.fill(&mut token_id);
        entropy.fill(&mut psk);
        entropy.fill(&mut nonce);
        let head = TokenHead {
            kind: TokenKind::ConnectToken,
            key_id: self.token_key_id,
            nonce,
            expiry_s: now_ms / 1000 + request.ttl_s.min(TokenKind::ConnectToken.max_ttl_s()),
        };
        let token = Token {
            player_id: request.player,
            issued_at_ms: now_ms,
            token_id,
            psk,
            realm: self.realm,
            address: TokenAddress::Any,
            server_public: self.server_public,
            entity_hint: 0,
            auth_level: 0,
            user_data: request.spawn.map_or([0; 124], Token::spawn_user_data),
        };
        TicketFile {
            servers: Vec::new(),
            protocol_id: self.protocol_id,
            server_public: self.server_public,
            token_kind: head.kind as u8,
            token_key_id: head.key_id,
            token_nonce: head.nonce,
            token_expiry: head.expiry_s,
            sealed_token: seal_token(&self.token_key.0, self.protocol_id, &head, &token),
            psk: Secret(psk),
        }
    }
}

impl TicketFile {
    /// The form in which a client takes it.
    pub fn for_client(&self) -> Ticket {
        Ticket {
            protocol_id: self.protocol_id,
            token: PublicToken {
                kind: self.token_kind,
                key_id: self.token_key_id,
                nonce: self.token_nonce,
                expiry_s: self.token_expiry,
                sealed: self.sealed_token,
            },
            psk: self.psk.0,
            server_public: self.server_public,
            build: 0,
        }
    }

    /// As JSON, for people and scripts.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a ticket is numbers and strings")
    }
}

fn parse<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, String> {
    let text = fs::read_to_string(path).map_err(|error| {
        format!("cannot read the key file {}: {error}; `tidelock keygen` makes one", path.display())
    })?;
    toml::from_str(&text).map_err(|error| {
        format!(
            "{} is no key file: {}; `tidelock keygen` makes one",
            path.display(),
            error.message()
        )
    })
}

fn write_private<T: Serialize>(
    path: &Path,
    comment: &str,
    keys: &T,
    replace: bool,
) -> Result<(), String> {
    let text = toml::to_string(keys).expect("keys are numbers and strings");
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            format!("{} exists; move it away first, keys are never overwritten", path.display())
        }
        _ => format!("cannot write {}: {error}", path.display()),
    };
    if replace && path.exists() {
        fs::remove_file(path).map_err(failed)?;
    }
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(comment.as_bytes())
        .and_then(|()| file.write_all(text.as_bytes()))
        .map_err(failed)
}

/// A `u64` as hexadecimal text: TOML and JavaScript have no unsigned 64-bit integer.
mod hex_u64 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{value:016x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16)
            .map_err(|_| D::Error::custom("expected 16 hexadecimal digits"))
    }
}

/// The sealed token as hexadecimal text; the crate's own adapter ends at shorter arrays.
mod hex_sealed {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(
        bytes: &[u8; 272],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[u8; 272], D::Error> {
        let mut bytes = [0; 272];
        hex::decode_to_slice(String::deserialize(deserializer)?, &mut bytes)
            .map_err(D::Error::custom)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::token::open_token;
    use crate::host::entropy::SeededEntropy;
    use std::os::unix::fs::PermissionsExt;

    fn folder() -> std::path::PathBuf {
        let name =
            format!("tidelock-keys-{}-{:?}", std::process::id(), std::thread::current().id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn key_files_are_private_round_trip_and_are_never_overwritten() {
        let folder = folder();
        let path = folder.join("server.keys.toml");
        let keys = ServerKeys::generate(&mut SeededEntropy(1));
        keys.save(&path, false).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(ServerKeys::load(&path).unwrap(), keys);
        assert_eq!(BackendKeys::load(&path).unwrap(), keys.backend);
        assert!(keys.save(&path, false).unwrap_err().contains("exists"));
        let other = ServerKeys::generate(&mut SeededEntropy(2));
        let mixed = ServerKeys { server_secret: other.server_secret.clone(), ..keys };
        mixed.save(&path, true).unwrap();
        assert!(ServerKeys::load(&path).unwrap_err().contains("does not belong"));
        fs::write(&path, "x = 1").unwrap();
        assert!(ServerKeys::load(&path).unwrap_err().contains("keygen"));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn key_tables_are_private_round_trip_and_are_never_overwritten() {
        let folder = folder();
        let path = folder.join("integrity-1001.toml");
        let table = KeyTable::generate(1001, 5, &mut SeededEntropy(1));
        save_key_table(&table, &path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let loaded = load_key_table(&path).unwrap();
        assert!((loaded.build(), loaded.keys().len()) == (1001, 5) && loaded == table);
        assert!(save_key_table(&table, &path).unwrap_err().contains("exists"));
        fs::write(&path, "build = 1\nkeys = []\n").unwrap();
        assert!(load_key_table(&path).unwrap_err().contains("no keys"));
        fs::write(&path, "build = 1\nkeys = [\"00\"]\n").unwrap();
        assert!(load_key_table(&path).unwrap_err().contains("no key file"));
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_minted_token_opens_and_says_what_was_asked_for() {
        let keys = ServerKeys::generate(&mut SeededEntropy(3)).backend;
        let request = TicketRequest { player: 7, spawn: Some([1, 2, 3]), ttl_s: 1000 };
        let ticket = keys.mint(&request, 5_000, &mut SeededEntropy(4));
        assert_eq!(ticket.token_expiry, 5 + 60, "the lifetime is capped");
        let head = TokenHead {
            kind: TokenKind::ConnectToken,
            key_id: 1,
            nonce: ticket.token_nonce,
            expiry_s: ticket.token_expiry,
        };
        let sealed = &ticket.sealed_token;
        let token = open_token(&keys.token_key.0, keys.protocol_id, &head, sealed).unwrap();
        assert_eq!((token.player_id, token.spawn_point()), (7, Some([1, 2, 3])));
        assert_eq!(token.psk, ticket.psk.0);
        assert!(!format!("{keys:?}{ticket:?}").contains(&hex::encode(ticket.psk.0)));
        let back: TicketFile = serde_json::from_str(&ticket.to_json()).unwrap();
        assert_eq!(back.sealed_token, ticket.sealed_token);
    }
}
