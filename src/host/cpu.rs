//! Refuses to run on a CPU that the binary was not built for, before an illegal instruction does.

use std::arch::x86_64::{__cpuid, __cpuid_count};

/// Features that the build assumes and this CPU lacks; empty if it may run.
///
/// `is_x86_feature_detected!` cannot answer this: in a build for x86-64-v3 it is the constant
/// `true`.
pub fn missing_features() -> Vec<&'static str> {
    let basic = __cpuid(1).ecx;
    let highest = __cpuid(0).eax;
    let extended = if highest >= 7 { __cpuid_count(7, 0).ebx } else { 0 };
    let abm = if __cpuid(0x8000_0000).eax >= 0x8000_0001 { __cpuid(0x8000_0001).ecx } else { 0 };
    let mut needed = vec![
        ("sse4.2", basic & 1 << 20),
        ("popcnt", basic & 1 << 23),
        ("avx", basic & 1 << 28),
        ("fma", basic & 1 << 12),
        ("movbe", basic & 1 << 22),
        ("f16c", basic & 1 << 29),
        ("osxsave", basic & 1 << 27),
        ("bmi1", extended & 1 << 3),
        ("avx2", extended & 1 << 5),
        ("bmi2", extended & 1 << 8),
        ("lzcnt", abm & 1 << 5),
    ];
    if cfg!(target_feature = "avx512f") {
        needed.extend([
            ("avx512f", extended & 1 << 16),
            ("avx512dq", extended & 1 << 17),
            ("avx512cd", extended & 1 << 28),
            ("avx512bw", extended & 1 << 30),
            ("avx512vl", extended & 1 << 31),
        ]);
    }
    needed.into_iter().filter(|&(_, present)| present == 0).map(|(name, _)| name).collect()
}

/// What to tell the operator when [`missing_features`] is not empty.
pub fn refusal(missing: &[&str]) -> String {
    let level = if cfg!(target_feature = "avx512f") { "x86-64-v4" } else { "x86-64-v3" };
    format!(
        "this binary was built for {level}, and this CPU lacks: {}.\n\
         Run it on a CPU from 2013 or later (Haswell, Zen 1), or build for this one:\n  \
         RUSTFLAGS=\"-C target-cpu=native\" cargo build --release",
        missing.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_that_runs_this_test_is_accepted() {
        assert_eq!(missing_features(), Vec::<&str>::new());
    }

    #[test]
    fn the_refusal_names_what_is_missing_and_what_to_do() {
        let text = refusal(&["avx2"]);
        assert!(text.contains("avx2") && text.contains("cargo build"), "{text}");
    }
}
