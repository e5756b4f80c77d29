//! Any bytes for one of the targets that are in `tests/fuzz/targets`; the variable `TARGET` names it.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
mod fuzzed {
    use btc_cluster::fuzzing::target;
    use std::sync::LazyLock;

    static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
        let word = std::env::var("TARGET").unwrap_or_default();
        target(&word).unwrap_or_else(|| panic!("no target: {word:?}"))
    });

    libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
}

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("tests/fuzz/run builds this so that it is of use");
}
