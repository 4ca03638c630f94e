//! Bad networks by name, and what of them the command line may override.

use super::model::Impairment;
use clap::Args;
use serde::Serialize;
use std::str::FromStr;

/// What changes about the client's side of the path while it plays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rebind {
    /// Nothing.
    #[default]
    None,
    /// The port, as when a router forgets.
    Port,
    /// Address and port, as when a phone goes from Wi-Fi to the mobile network.
    Address,
}

/// Both directions of a path. `up` leads to the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Profile {
    pub(crate) up: Impairment,
    pub(crate) down: Impairment,
    pub(crate) rebind: Rebind,
    /// Time between two changes.
    pub(crate) rebind_every_ms: u64,
}

/// Names and what they stand for, in the order of the documents.
pub(crate) const NAMES: [(&str, &str); 13] = [
    ("lan", "a fifth of a millisecond each way, nothing lost"),
    ("broadband", "10 ms each way, 100/20 Mbit/s, 1 in 1,000 lost"),
    ("wifi", "5 ms and up to 15 of jitter, 1 % lost in bursts, some late"),
    ("4g", "30 ms and up to 20 of jitter, 20/8 Mbit/s, 1.5 % lost, most of it in bursts"),
    ("soak", "a little of everything at a time, for long runs"),
    ("handshakeloss", "30 % lost in bursts of 3"),
    ("corruption", "5 % arrive with a wrong bit"),
    ("blackhole", "packets above 1,280 bytes vanish without a word"),
    ("longrtt", "a round trip of 400 to 440 ms"),
    ("reorder", "20 % are held back for up to 500 ms"),
    ("rebind-port", "another port every 8 s"),
    ("rebind-addr", "another address every 8 s"),
    ("asymmetric", "up: 60 ms, 512 kbit/s, 3 % lost; down: 10 ms, 20 Mbit/s"),
];

/// What both directions of most paths have in common.
fn both(impairment: Impairment) -> Profile {
    Profile { up: impairment, down: impairment, ..Profile::default() }
}

/// The profile `name`.
///
/// # Errors
/// If there is none; the text lists those there are.
pub(crate) fn named(name: &str) -> Result<Profile, String> {
    let none = Impairment::default();
    let plain = Impairment { delay_ms: 10.0, jitter_ms: 2.0, ..none };
    let moving = |rebind| Profile { rebind, rebind_every_ms: 8_000, ..both(plain) };
    let with_rates = |path, up, down| {
        let up = Impairment { rate_kbit: up, queue_ms: 200, ..path };
        Profile { up, down: Impairment { rate_kbit: down, ..up }, ..Profile::default() }
    };
    Ok(match name {
        "lan" => both(Impairment { delay_ms: 0.2, ..none }),
        "broadband" => {
            let path = Impairment { delay_ms: 10.0, jitter_ms: 3.0, loss: 0.001, ..none };
            with_rates(path, 20_000, 100_000)
        }
        "wifi" => both(Impairment {
            delay_ms: 5.0,
            jitter_ms: 15.0,
            burst_loss: 0.01,
            burst_length: 4.0,
            reorder: 0.005,
            reorder_ms: 10.0,
            duplicate: 0.001,
            ..none
        }),
        "4g" => {
            let path = Impairment {
                delay_ms: 30.0,
                jitter_ms: 20.0,
                loss: 0.005,
                burst_loss: 0.01,
                burst_length: 8.0,
                ..none
            };
            with_rates(path, 8_000, 20_000)
        }
        "soak" => both(Impairment {
            delay_ms: 40.0,
            jitter_ms: 30.0,
            loss: 0.02,
            burst_loss: 0.03,
            burst_length: 5.0,
            reorder: 0.05,
            reorder_ms: 100.0,
            duplicate: 0.02,
            corrupt: 0.005,
            rate_kbit: 2_000,
            queue_ms: 300,
            mtu: 1_280,
        }),
        "handshakeloss" => {
            both(Impairment { delay_ms: 20.0, burst_loss: 0.3, burst_length: 3.0, ..none })
        }
        "corruption" => both(Impairment { corrupt: 0.05, ..plain }),
        "blackhole" => both(Impairment { mtu: 1_280, ..plain }),
        "longrtt" => both(Impairment { delay_ms: 200.0, jitter_ms: 20.0, ..none }),
        "reorder" => both(Impairment { reorder: 0.2, reorder_ms: 500.0, ..plain }),
        "rebind-port" => moving(Rebind::Port),
        "rebind-addr" => moving(Rebind::Address),
        "asymmetric" => {
            let up = Impairment { delay_ms: 60.0, loss: 0.03, ..plain };
            let up = Impairment { rate_kbit: 512, queue_ms: 300, ..up };
            let down = Impairment { rate_kbit: 20_000, queue_ms: 200, ..plain };
            Profile { up, down, ..Profile::default() }
        }
        _ => {
            let names = NAMES.map(|(name, _)| name).join(", ");
            return Err(format!("there is no profile `{name}`; there are: {names}"));
        }
    })
}

/// A number for both directions, or two for up and down: `5` or `5/1`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Both {
    up: f64,
    down: f64,
}

impl FromStr for Both {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (up, down) = text.split_once('/').unwrap_or((text, text));
        let number = |text: &str| {
            let number = text.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
            number.ok_or_else(|| format!("`{text}` is no number from 0 on, such as 5 or 5/0.5"))
        };
        Ok(Self { up: number(up)?, down: number(down)? })
    }
}

/// What may be overridden. Values are for both directions, or UP/DOWN such as `5/0.5`.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Overrides {
    /// Percent lost, each datagram on its own.
    #[arg(long, value_name = "PERCENT")]
    loss: Option<Both>,
    /// Percent lost in bursts.
    #[arg(long, value_name = "PERCENT")]
    burst_loss: Option<Both>,
    /// Datagrams in a burst, mean.
    #[arg(long, value_name = "DATAGRAMS")]
    burst_length: Option<Both>,
    /// Milliseconds on the way.
    #[arg(long, value_name = "MS")]
    delay: Option<Both>,
    /// Milliseconds added at most, in order.
    #[arg(long, value_name = "MS")]
    jitter: Option<Both>,
    /// Percent held back and overtaken.
    #[arg(long, value_name = "PERCENT")]
    reorder: Option<Both>,
    /// Milliseconds for which those are held back, at most.
    #[arg(long, value_name = "MS")]
    reorder_by: Option<Both>,
    /// Percent that arrive twice.
    #[arg(long, value_name = "PERCENT")]
    duplicate: Option<Both>,
    /// Percent that arrive with a wrong bit.
    #[arg(long, value_name = "PERCENT")]
    corrupt: Option<Both>,
    /// Bottleneck of each client, kbit/s; 0 = none.
    #[arg(long, value_name = "KBIT")]
    rate: Option<Both>,
    /// Milliseconds that the bottleneck's queue holds.
    #[arg(long, value_name = "MS")]
    queue: Option<Both>,
    /// Bytes of the largest packet that arrives, 28 of IPv4 and UDP included; 0 = any.
    #[arg(long, value_name = "BYTES")]
    mtu: Option<Both>,
    /// What changes about the clients' side of the path.
    #[arg(long)]
    rebind: Option<Rebind>,
    /// Seconds between two such changes of a client.
    #[arg(long, value_name = "SECONDS")]
    rebind_every: Option<f64>,
}

/// One of the settings of a direction.
type Field<T> = fn(&mut Impairment) -> &mut T;

impl Overrides {
    /// Puts what was given into `profile`.
    ///
    /// # Errors
    /// If a share is above 100 percent, or changes would come more often than every tenth of a
    /// second.
    pub(crate) fn apply(&self, profile: &mut Profile) -> Result<(), String> {
        let Profile { up, down, .. } = profile;
        let shares: [(_, Field<f64>); 5] = [
            (self.loss, |path| &mut path.loss),
            (self.burst_loss, |path| &mut path.burst_loss),
            (self.reorder, |path| &mut path.reorder),
            (self.duplicate, |path| &mut path.duplicate),
            (self.corrupt, |path| &mut path.corrupt),
        ];
        for (both, field) in shares {
            let Some(both) = both else { continue };
            if both.up > 100.0 || both.down > 100.0 {
                return Err(format!("{both:?}: a share is 0 to 100 percent"));
            }
            (*field(up), *field(down)) = (both.up / 100.0, both.down / 100.0);
        }
        let amounts: [(_, Field<f64>); 4] = [
            (self.burst_length, |path| &mut path.burst_length),
            (self.delay, |path| &mut path.delay_ms),
            (self.jitter, |path| &mut path.jitter_ms),
            (self.reorder_by, |path| &mut path.reorder_ms),
        ];
        for (both, field) in amounts {
            let Some(both) = both else { continue };
            (*field(up), *field(down)) = (both.up, both.down);
        }
        let counts: [(_, Field<u32>); 3] = [
            (self.rate, |path| &mut path.rate_kbit),
            (self.queue, |path| &mut path.queue_ms),
            (self.mtu, |path| &mut path.mtu),
        ];
        for (both, field) in counts {
            let Some(both) = both else { continue };
            (*field(up), *field(down)) = (both.up as u32, both.down as u32);
        }
        profile.rebind = self.rebind.unwrap_or(profile.rebind);
        if let Some(seconds) = self.rebind_every {
            profile.rebind_every_ms = (seconds.clamp(0.0, 1e6) * 1e3) as u64;
        }
        if profile.rebind != Rebind::None && profile.rebind_every_ms < 100 {
            return Err("--rebind needs --rebind-every of at least 0.1 seconds".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_profile_that_lets_most_datagrams_pass() {
        for (name, _) in NAMES {
            let profile = named(name).expect(name);
            for path in [profile.up, profile.down] {
                assert!(path.loss + path.burst_loss <= 0.3, "{name}");
                assert!(path.burst_loss == 0.0 || path.burst_length >= 1.0, "{name}");
                assert!(path.rate_kbit == 0 || path.queue_ms > 0, "{name}");
            }
            assert_eq!(profile.rebind == Rebind::None, profile.rebind_every_ms == 0, "{name}");
        }
        assert!(named("dialup").expect_err("unknown").contains("handshakeloss"));
    }

    #[test]
    fn options_override_one_direction_or_both() {
        let mut profile = named("wifi").expect("known");
        let overrides = Overrides {
            loss: Some("5/0.5".parse().expect("two numbers")),
            delay: Some("80".parse().expect("a number")),
            rate: Some("0/512".parse().expect("two numbers")),
            ..Overrides::default()
        };
        overrides.apply(&mut profile).expect("possible");
        assert_eq!((profile.up.loss, profile.down.loss), (0.05, 0.005));
        assert_eq!((profile.up.delay_ms, profile.down.delay_ms), (80.0, 80.0));
        assert_eq!((profile.up.rate_kbit, profile.down.rate_kbit), (0, 512));
        assert_eq!(profile.up.burst_loss, 0.01, "the rest stays");
        for bad in ["", "x", "-1", "1/", "1/2/3", "inf", "NaN"] {
            assert!(bad.parse::<Both>().is_err(), "{bad}");
        }
        let much = Overrides { corrupt: Some("101".parse().expect("a number")), ..overrides };
        assert!(much.apply(&mut profile).is_err());
        let often = Overrides { rebind: Some(Rebind::Port), ..Overrides::default() };
        assert!(often.apply(&mut profile).is_err(), "how often is not said");
    }
}
