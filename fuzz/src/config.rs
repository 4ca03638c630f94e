//! The text of a configuration file: refused with a reason, or read and written without loss.

use tidelock::config::Config;

/// The text of a file.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let config = match Config::parse(text) {
        Ok(config) => config,
        Err(error) => return assert!(!error.0.is_empty(), "an error says what is wrong"),
    };
    match config.check() {
        Ok(()) => in_bounds(&config),
        Err(error) => assert!(!error.0.is_empty(), "an error says what is wrong"),
    }
}

/// What the rest of the program relies on once a configuration is checked.
fn in_bounds(config: &Config) {
    assert_eq!(Config::parse(&config.to_toml()).as_ref(), Ok(config));
    assert!(config.interest.radii().iter().all(|radius| radius.is_finite() && *radius > 0.0));
    assert!(config.players_per_shard() >= 1 && config.entities_per_shard() >= 1);
    let _ = (config.io(), config.tick_rate(), config.replication.budget_range());
    for shards in [1, 2, 255] {
        // May be too few for the players; must not be a surprise.
        let _ = config.with_shards(shards);
    }
}
