//! What the tests of this crate share: other people's programs as oracles.

use crate::exec;

/// Whether the tests run as root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs `program` of the Debian package `package` and gives what it printed. A missing oracle fails the test and says
/// what to install: a test that skips itself proves nothing.
pub(crate) fn tool(program: &str, package: &str, args: &[&str]) -> String {
    let found = exec::find(program)
        .or_else(|| Some(std::path::Path::new("/usr/sbin").join(program)).filter(|p| p.exists()))
        .unwrap_or_else(|| panic!("{program} is missing: apt-get install {package}"));
    match exec::tool(found).args(args).run() {
        Ok(out) => format!("{}{}", out.text(), out.last),
        Err(e) => panic!("{e}"),
    }
}
