//! The configuration of a server: file < environment < flags.
//!
//! Owns the names, the defaults and the bounds of every setting, and the error messages about them.
//! Reads no file and no environment itself beyond [`Config::load`]; the command line merges its
//! flags in `cli`.

mod flood;
mod rekey;
mod shards;
mod strict;
mod waf;

pub use flood::LimitsConfig;
pub use rekey::RekeyConfig;
pub use shards::{SHARDS_MAX, ShardCount};
pub use waf::{IntegrityConfig, MessagesConfig, ScoresConfig, WafConfig};

use crate::connection::BudgetRange;
use crate::limits;
use crate::net::IoChoice;
use crate::state::Kind;
use crate::units::{MAP_XY, TickRate};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::{fmt, fs};

/// Default UDP port.
pub const DEFAULT_PORT: u16 = 3565;

/// All settings. Every key of the file is optional.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address, threads, keys.
    pub server: ServerConfig,
    /// What lives in the world.
    pub world: WorldSection,
    /// How far one sees.
    pub interest: InterestConfig,
    /// What one is told.
    pub replication: ReplicationConfig,
    /// Bounds against floods.
    pub limits: LimitsConfig,
    /// What breaches cost.
    pub waf: WafConfig,
    /// Socket memory.
    pub net: NetConfig,
    /// When keys are replaced.
    pub rekey: RekeyConfig,
}

/// `[server]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// UDP address to listen on.
    pub bind: SocketAddr,
    /// Key file made by `tidelock keygen`; without one only `--dev` starts.
    pub keys: Option<PathBuf>,
    /// Ticks per second: 30, 60 or 120.
    pub tick_rate: u16,
    /// Simulation threads: `auto` or a number.
    pub shards: ShardCount,
    /// `auto` or a list such as `0,2-3`: the cores for shards and gate, in order of preference.
    pub cores: String,
    /// Whether shards may share cores, for tests on small machines.
    pub oversubscribe: bool,
    /// `auto`, `uring` or `mmsg`.
    pub io: String,
    /// Folder of the lock, the admin socket and the development keys.
    pub run_dir: Option<PathBuf>,
    /// Microseconds before a tick in which the shard spins instead of sleeping. Only for a core of
    /// its own.
    pub spin_us: u32,
    /// Whether players move from busy shards to idle ones.
    pub rebalance: bool,
    /// Milliseconds a shard may stand still before it is given up and replaced; 0 = for ever.
    pub watchdog_ms: u32,
}

/// `[world]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorldSection {
    /// Players at a time.
    pub players: u32,
    /// NPCs that live in the world from the start.
    pub npcs: u32,
    /// Entities of all kinds at a time, players included.
    pub entities: u32,
    /// Seed of everything that is random in the world.
    pub seed: u64,
    /// Where a player appears whose token names no place.
    pub spawn: SpawnRule,
    /// Seconds for which the entity of a player stays whose connection was lost; 0 = it goes at
    /// once.
    pub linger_s: u32,
}

/// Where players appear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpawnRule {
    /// Anywhere on the map, by seed and player id.
    #[default]
    Uniform,
    /// Within 50 m of the centre of the map.
    Plaza,
    /// Within 2.5 m of it.
    Blob,
}

/// `[interest]`: distances in centimetres from which an entity is seen, by its kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InterestConfig {
    /// Distance of other players.
    pub player: f32,
    /// Distance of peaceful characters.
    pub npc: f32,
    /// Distance of hostile characters.
    pub monster: f32,
    /// Distance of projectiles.
    pub projectile: f32,
    /// Distance of buildings.
    pub static_build: f32,
    /// Distance of vehicles.
    pub vehicle: f32,
    /// Distance of items.
    pub item: f32,
    /// Distance of effects.
    pub effect: f32,
    /// What is seen stays visible up to this many times its distance.
    pub leave_factor: f32,
}

/// `[replication]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReplicationConfig {
    /// Bytes of plaintext in one snapshot, at most, when a player joins.
    pub budget_bytes: usize,
    /// What that falls to, at worst, on a congested path; more than `budget_bytes` means as much.
    pub budget_min_bytes: usize,
    /// What that grows to, at best, if there is use for it; less than `budget_bytes` means as much.
    pub budget_max_bytes: usize,
}

/// `[net]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetConfig {
    /// Kernel receive buffer of each socket, bytes.
    pub receive_buffer_bytes: usize,
    /// Kernel send buffer of each socket, bytes.
    pub send_buffer_bytes: usize,
    /// Who brings datagrams to the thread that they are for.
    pub steering: Steering,
    /// Whether the Benchmarks of clients are answered.
    pub benchmark: bool,
}

/// Who brings datagrams to the thread that they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Steering {
    /// The kernel, where it allows that.
    #[default]
    Auto,
    /// The threads among themselves, as where the kernel does not.
    Off,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            bind: SocketAddr::new(IpAddr::from([0, 0, 0, 0]), DEFAULT_PORT),
            keys: None,
            tick_rate: TickRate::DEFAULT.hz(),
            shards: ShardCount::Count(1),
            cores: "auto".to_owned(),
            oversubscribe: false,
            io: "auto".to_owned(),
            run_dir: None,
            spin_us: 0,
            rebalance: true,
            watchdog_ms: 250,
        }
    }
}

impl Default for WorldSection {
    fn default() -> Self {
        let players = limits::SLOTS_PER_SHARD as u32;
        let (npcs, linger_s) = (0, (limits::LINGER_MS / 1000) as u32);
        Self { players, npcs, entities: players, seed: 1, spawn: SpawnRule::Uniform, linger_s }
    }
}

impl Default for InterestConfig {
    fn default() -> Self {
        Self {
            player: Kind::Player.radius(),
            npc: Kind::Npc.radius(),
            monster: Kind::Monster.radius(),
            projectile: Kind::Projectile.radius(),
            static_build: Kind::StaticBuild.radius(),
            vehicle: Kind::Vehicle.radius(),
            item: Kind::Item.radius(),
            effect: Kind::Effect.radius(),
            leave_factor: 1.1,
        }
    }
}

impl InterestConfig {
    /// The distances in the order of `Kind::ALL`.
    pub fn radii(&self) -> [f32; Kind::COUNT] {
        Kind::ALL.map(|kind| match kind {
            Kind::Player => self.player,
            Kind::Npc => self.npc,
            Kind::Monster => self.monster,
            Kind::Projectile => self.projectile,
            Kind::StaticBuild => self.static_build,
            Kind::Vehicle => self.vehicle,
            Kind::Item => self.item,
            Kind::Effect => self.effect,
        })
    }

    /// The distance at which `players` spread evenly over the map see `visible` others on average.
    pub fn radius_for(visible: u32, players: u32) -> f32 {
        let others = players.saturating_sub(1).max(1) as f32;
        let radius = MAP_XY * (visible as f32 / others / std::f32::consts::PI).sqrt();
        radius.clamp(1_000.0, MAP_XY)
    }
}

impl Default for ReplicationConfig {
    fn default() -> Self {
        Self {
            budget_bytes: limits::SNAPSHOT_BUDGET,
            budget_min_bytes: limits::SNAPSHOT_BUDGET,
            budget_max_bytes: limits::SNAPSHOT_BUDGET,
        }
    }
}

impl ReplicationConfig {
    /// Where the byte budget of a player begins, and how far congestion control moves it.
    pub fn budget_range(&self) -> BudgetRange {
        BudgetRange::new(self.budget_min_bytes, self.budget_bytes, self.budget_max_bytes)
    }
}

impl Default for NetConfig {
    fn default() -> Self {
        let (receive_buffer_bytes, send_buffer_bytes) = (16 << 20, 16 << 20);
        Self { receive_buffer_bytes, send_buffer_bytes, steering: Steering::Auto, benchmark: false }
    }
}

/// What is wrong with a configuration: where, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads and checks the file at `path`.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path)
            .map_err(|error| ConfigError(format!("cannot read {}: {error}", path.display())))?;
        Self::parse(&text).map_err(|error| ConfigError(format!("{}: {error}", path.display())))
    }

    /// Parses the text of a file; unknown keys are errors.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| ConfigError(strict::explain(&error, text)))
    }

    /// The settings as a file, with every default filled in.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("every setting has a form in TOML")
    }

    /// Checks what the types cannot: ranges and relations.
    pub fn check(&self) -> Result<(), ConfigError> {
        let Config { server, world, interest, replication, limits: flood, waf, net, rekey } = self;
        if TickRate::from_hz(server.tick_rate).is_none() {
            return wrong("server.tick_rate", server.tick_rate, "30, 60 or 120");
        }
        if server.cores != "auto" {
            crate::host::cores::parse_list(&server.cores)
                .map_err(|error| ConfigError(format!("server.cores: {error}")))?;
        }
        if let Err(error) = server.io.parse::<IoChoice>() {
            return Err(ConfigError(format!("server.io: {error}")));
        }
        within("server.spin_us", server.spin_us, 0, 10_000)?;
        within("server.watchdog_ms", server.watchdog_ms, 0, 60_000)?;
        let players_max = limits::SLOTS_PER_SHARD as u32 * u32::from(server.shards.most());
        within("world.players", world.players, 1, players_max)?;
        within("world.npcs", world.npcs, 0, limits::ENTITIES_MAX as u32 - world.players)?;
        let entities_min = world.players + world.npcs;
        within("world.linger_s", world.linger_s, 0, 3_600)?;
        within("world.entities", world.entities, entities_min, limits::ENTITIES_MAX as u32)?;
        for (kind, radius) in Kind::ALL.iter().zip(interest.radii()) {
            within(&format!("interest.{}", kind.name()), radius, 100.0, MAP_XY)?;
        }
        within("interest.leave_factor", interest.leave_factor, 1.0, 4.0)?;
        let room = crate::replicate::SNAPSHOT_ROOM_MIN
            + limits::ACK_BLOCK_LEN
            + limits::MESSAGE_HEADER_LEN;
        for (key, bytes) in [
            ("replication.budget_bytes", replication.budget_bytes),
            ("replication.budget_min_bytes", replication.budget_min_bytes),
            ("replication.budget_max_bytes", replication.budget_max_bytes),
        ] {
            within(key, bytes, room, limits::PLAINTEXT_MAX)?;
        }
        flood.check(server.tick_rate)?;
        waf.check()?;
        within("net.receive_buffer_bytes", net.receive_buffer_bytes, 1 << 16, 1 << 30)?;
        within("net.send_buffer_bytes", net.send_buffer_bytes, 1 << 16, 1 << 30)?;
        rekey.check()
    }

    /// The settings for `shards` shards, checked: `auto` comes to a number only on a machine.
    pub fn with_shards(&self, shards: usize) -> Result<Self, ConfigError> {
        let mut config = self.clone();
        config.server.shards = ShardCount::Count(shards as u16);
        config.check()?;
        Ok(config)
    }

    /// Sessions of one shard, at a number of shards that is settled: an even share and a quarter
    /// more, as shards are not filled to the same height.
    pub fn players_per_shard(&self) -> usize {
        self.per_shard(self.world.players).min(limits::SLOTS_PER_SHARD)
    }

    /// Entities of one shard: likewise.
    pub fn entities_per_shard(&self) -> usize {
        self.per_shard(self.world.entities)
    }

    /// Slots of one shard that only players get who come back to an entity there.
    pub fn spare_slots(&self) -> usize {
        limits::SPARE_SLOTS.min(limits::SLOTS_PER_SHARD - self.players_per_shard())
    }

    /// Slots of one shard.
    pub fn slots_per_shard(&self) -> usize {
        self.players_per_shard() + self.spare_slots()
    }

    fn per_shard(&self, total: u32) -> usize {
        let share = total.div_ceil(u32::from(self.server.shards.most()));
        (share + share.div_ceil(4)).min(total) as usize
    }

    /// The way to move datagrams of a checked configuration.
    pub fn io(&self) -> IoChoice {
        self.server.io.parse().expect("check() parsed it")
    }

    /// The tick rate of a checked configuration.
    pub fn tick_rate(&self) -> TickRate {
        TickRate::from_hz(self.server.tick_rate).expect("check() accepts only the three rates")
    }
}

fn wrong<T>(key: &str, value: impl fmt::Display, allowed: &str) -> Result<T, ConfigError> {
    Err(ConfigError(format!("{key} = {value} is not possible; allowed: {allowed}")))
}

fn within<T: PartialOrd + fmt::Display>(
    key: &str,
    value: T,
    least: T,
    most: T,
) -> Result<(), ConfigError> {
    if value >= least && value <= most {
        return Ok(());
    }
    wrong(key, value, &format!("{least} to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(text: &str) -> String {
        match Config::parse(text).and_then(|config| config.check()) {
            Ok(()) => panic!("accepted: {text}"),
            Err(error) => error.0,
        }
    }

    #[test]
    fn the_defaults_are_valid_and_survive_a_round_trip() {
        let config = Config::default();
        config.check().unwrap();
        assert_eq!(Config::parse(&config.to_toml()).unwrap(), config);
        assert_eq!(Config::parse("").unwrap(), config);
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_line_and_a_suggestion() {
        let error = error_of("[server]\nshards = 1\ntick_rte = 60\n");
        assert!(error.contains("line 3"), "{error}");
        assert!(error.contains("did you mean `tick_rate`?"), "{error}");
        let error = error_of("[sever]\n");
        assert!(error.contains("did you mean `server`?"), "{error}");
        let error = error_of("[server]\nzzzzzzzz = 1\n");
        assert!(!error.contains("did you mean") && error.contains("tick_rate"), "{error}");
    }

    #[test]
    fn a_value_out_of_range_names_the_key_and_the_range() {
        assert!(error_of("[server]\ntick_rate = 61").contains("30, 60 or 120"));
        assert!(error_of("[world]\nplayers = 5000").contains("1 to 4096"));
        assert!(error_of("[server]\nshards = 2\n[world]\nplayers = 9000").contains("1 to 8192"));
        assert!(error_of("[interest]\nplayer = nan").contains("interest.player"));
        for key in ["budget_bytes", "budget_min_bytes", "budget_max_bytes"] {
            let error = error_of(&format!("[replication]\n{key} = 1171"));
            assert!(error.contains(key) && error.contains("1170"), "{error}");
        }
        assert!(error_of("[rekey]\nseconds = 4").contains("5 to 3600"));
        assert!(error_of("[rekey]\nbytes = 65535").contains("65536 to 1000000000"));
        assert!(error_of("[server]\ncores = \"x\"").contains("server.cores"));
        assert!(error_of("[world]\nplayers = 9\nentities = 8").contains("world.entities"));
        let error = error_of("[server]\ntick_rate = \"fast\"");
        assert!(error.contains("line 2") && error.contains("expected"), "{error}");
        let error = error_of("[net]\nsteering = \"of\"");
        assert!(error.contains("line 2") && error.contains("`auto` or `off`"), "{error}");
    }

    #[test]
    fn shards_are_a_number_or_auto() {
        let config = Config::parse("[server]\nshards = \"auto\"").unwrap();
        assert_eq!(config.server.shards, ShardCount::Auto);
        assert_eq!(Config::parse(&config.to_toml()).unwrap(), config);
        config.check().unwrap();
        for wrong in ["0", "256", "-1", "\"many\"", "1.5"] {
            let error = error_of(&format!("[server]\nshards = {wrong}"));
            assert!(error.contains("line 2") && error.contains("`auto` or a number"), "{error}");
        }
    }

    #[test]
    fn what_auto_came_to_is_checked_like_a_number() {
        let mut config = Config::default();
        config.server.shards = ShardCount::Auto;
        config.world.players = 5_000;
        config.world.entities = 5_000;
        config.check().unwrap();
        assert!(config.with_shards(1).unwrap_err().0.contains("1 to 4096"));
        config.world.players = 4_096;
        assert_eq!(config.with_shards(1).unwrap().server.shards, ShardCount::Count(1));
        config.world.players = 5_000;
        assert_eq!(config.with_shards(3).unwrap().server.shards, ShardCount::Count(3));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Config::load(Path::new("/nonexistent/tidelock.toml")).unwrap_err();
        assert!(error.0.contains("/nonexistent/tidelock.toml"), "{error}");
    }

    #[test]
    fn the_radius_for_fifty_visible_players_has_the_right_area() {
        let radius = InterestConfig::radius_for(50, 1001);
        let share = std::f32::consts::PI * radius * radius / (MAP_XY * MAP_XY);
        assert!((share * 1000.0 - 50.0).abs() < 0.1, "{share}");
    }
}
