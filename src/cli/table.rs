//! Tables for a terminal.

/// Rows under headings, each column as wide as its longest cell; `bold` makes the headings bold.
pub(super) fn text(headings: &[&str], rows: &[Vec<String>], bold: bool) -> String {
    let mut widths: Vec<usize> = headings.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<_> = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut text = line(&mut headings.iter().copied());
    if bold {
        text = format!("\x1b[1m{text}\x1b[0m");
    }
    text.push('\n');
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
        text.push('\n');
    }
    text
}

/// `1d 2h`, `3h 4m`, `5m 6s`, `7s`.
pub(super) fn time(seconds: u64) -> String {
    let (d, h, m, s) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    match (d, h, m) {
        (0, 0, 0) => format!("{s}s"),
        (0, 0, m) => format!("{m}m {s}s"),
        (0, h, m) => format!("{h}h {m}m"),
        (d, h, _) => format!("{d}d {h}h"),
    }
}

/// `12.3 MiB`
pub(super) fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
    let mib = bytes as f64 / f64::from(1 << 20);
    format!("{mib:.1} MiB")
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_short() {
        let all = [7, 306, 11_040, 93_600].map(super::time);
        assert_eq!(all, ["7s", "5m 6s", "3h 4m", "1d 2h"]);
    }
}
