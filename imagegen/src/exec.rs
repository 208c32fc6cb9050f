//! Programs of the building machine. How they are run, bounded and ended is [`hypriot_base::exec`]'s; here is what is different about
//! the tools of a build: a person sits before them.

use std::ffi::OsStr;
use std::time::Duration;

pub use hypriot_base::exec::{Cmd, ExecError, Output, exists, find};

/// How long a tool may take unless its caller says otherwise.
const LIMIT: Duration = Duration::from_mins(10);
/// More standard output than this is an error: nothing we run prints more, and memory is bounded.
const MAX_STDOUT: usize = 256 << 20;
/// Lines of its output that an error shows: a compiler's or a package manager's reason is rarely in the last one.
const SHOWN_LINES: usize = 25;

/// A tool: all of its output is kept, an interrupt at the terminal reaches it, and one that is missing can be installed by `doctor`.
pub fn tool(program: impl AsRef<OsStr>) -> Cmd {
    Cmd::new(program)
        .timeout(LIMIT)
        .whole(MAX_STDOUT)
        .shown_lines(SHOWN_LINES)
        .at_the_terminal()
        .hint("is it installed? `hypriot-imagegen doctor` names what is missing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_says_how_to_get_it() {
        let e = tool("no-such-program-here").run().unwrap_err().to_string();
        assert!(
            e.contains("no-such-program-here") && e.contains("doctor"),
            "{e}"
        );
    }
}
