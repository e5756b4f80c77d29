//! In a build for tests a text that is named in the environment kills the worker that reads it from a client, or has to
//! write it to one.

/// Looks for the text.
pub(super) fn look(bytes: &[u8]) {
    const VARIABLE: &str = "BTC_CLUSTER_TEST_POISON";
    static POISON: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var(VARIABLE).ok().filter(|text| !text.is_empty()));
    if let Some(text) = &*POISON
        && bytes.windows(text.len()).any(|part| part == text.as_bytes())
    {
        std::process::abort();
    }
}
