//! How progress is shown: one line that is overwritten on a terminal, line after line in a log.

use std::io::{IsTerminal as _, Write as _};

/// Shows a line of progress on standard error.
pub(super) fn progress() -> impl FnMut(&str) {
    let terminal = std::io::stderr().is_terminal();
    let mut shown = ShownLine(terminal);
    move |line| shown.show(line)
}

/// Whether the current line of the terminal belongs to us; it is cleared at the end.
struct ShownLine(bool);

impl ShownLine {
    fn show(&mut self, line: &str) {
        let line: String = line.trim().chars().take(100).collect();
        if self.0 {
            eprint!("\r\x1b[2K{line}");
            // A terminal that went away is no reason to stop.
            drop(std::io::stderr().flush());
        } else {
            eprintln!("{line}");
        }
    }
}

impl Drop for ShownLine {
    fn drop(&mut self) {
        if self.0 {
            eprint!("\r\x1b[2K");
        }
    }
}
