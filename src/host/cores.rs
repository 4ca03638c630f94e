//! Which cores this process may use, and pinning a thread to one of them.

/// Cores that the affinity mask of this process allows, increasing.
pub fn allowed() -> Vec<usize> {
    let mut cores: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
    cores.sort_unstable();
    cores
}

/// Pins the calling thread to `core`. The error says what to change.
pub fn pin_current_thread(core: usize) -> Result<(), String> {
    let allowed = allowed();
    // The crate panics on a core beyond its set, so what is not allowed never reaches it.
    let id = core_affinity::CoreId { id: core };
    if allowed.contains(&core) && core_affinity::set_for_current(id) {
        return Ok(());
    }
    Err(format!(
        "cannot pin a thread to core {core}; this process may use the cores {}. \
         Choose among them with --cores, or widen the mask (taskset, cpuset).",
        to_list(&allowed)
    ))
}

/// Lowers the priority of the calling thread, so that a shard on the same core goes first.
pub fn yield_to_others() {
    // Failing to be nicer is no fault: the thread then competes as before.
    let _ = rustix::process::setpriority_process(None, 10);
}

/// The cores named in a list such as `0,2-3`.
pub fn parse_list(list: &str) -> Result<Vec<usize>, String> {
    let number = |text: &str| {
        text.trim().parse::<usize>().map_err(|_| {
            format!("`{list}` is no list of cores: `{text}` is no number (write for example 0,2-3)")
        })
    };
    let mut cores = Vec::new();
    for part in list.split(',') {
        match part.split_once('-') {
            None => cores.push(number(part)?),
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last || last - first > 4096 {
                    return Err(format!("`{part}` is no range of cores"));
                }
                cores.extend(first..=last);
            }
        }
    }
    Ok(cores)
}

/// `cores` as a list that [`parse_list`] reads, with ranges for neighbours: `0,2-3`.
pub fn to_list(cores: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &core in cores {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == core => *last = core,
            _ => ranges.push((core, core)),
        }
    }
    let text = |&(first, last): &(usize, usize)| match last - first {
        0 => first.to_string(),
        _ => format!("{first}-{last}"),
    };
    ranges.iter().map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_read_and_nonsense_is_named() {
        assert_eq!(parse_list("0,2-4"), Ok(vec![0, 2, 3, 4]));
        assert!(parse_list("a").unwrap_err().contains("`a`"));
        assert!(parse_list("4-2").is_err());
        assert!(parse_list("").is_err());
        assert!(parse_list("0-99999999999").is_err());
    }

    #[test]
    fn lists_are_written_as_they_are_read() {
        assert_eq!(to_list(&[]), "");
        assert_eq!(to_list(&[0, 2, 3, 4, 9]), "0,2-4,9");
        assert_eq!(to_list(&[3, 2]), "3,2");
        assert_eq!(parse_list(&to_list(&[7, 0, 1, 5])), Ok(vec![7, 0, 1, 5]));
    }

    #[test]
    fn pinning_to_a_core_that_does_not_exist_is_an_error() {
        let error = std::thread::spawn(|| pin_current_thread(100_000)).join().expect("no panic");
        assert!(error.unwrap_err().contains("--cores"));
        let first = allowed()[0];
        std::thread::spawn(move || pin_current_thread(first).unwrap()).join().expect("no panic");
    }
}
