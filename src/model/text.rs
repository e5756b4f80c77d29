//! Foreign text, made safe for a log line.

/// Returns the beginning of a text as one line without control characters.
#[must_use]
pub fn one_line(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    clean.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(160).collect()
}
