//! Owns how programs of the board's architecture run in the sandbox: a table of foreign executables of its own, where the kernel
//! has one.

use std::path::Path;

use nix::mount::MsFlags;

use super::world::fs_mount;
use super::{Foreign, write_proc};
use crate::exec::{self, ExecError};

/// Where the table lies, below /proc.
pub(super) const TABLE: &str = "sys/fs/binfmt_misc";

/// Whose table of foreign executables counts in the sandbox.
pub(super) enum Table {
    Own,
    Hosts,
}

/// Where only the host's table counts, it must know this architecture, and have opened its emulator before we changed root.
pub(super) fn probe(foreign: &Foreign) -> anyhow::Result<()> {
    // It is in every tree, and never one of the programs that are covered.
    match exec::tool("/usr/sbin/ldconfig")
        .arg("--version")
        .clear_env()
        .run()
    {
        Err(e @ (ExecError::Start { .. } | ExecError::Missing { .. })) => Err(anyhow::anyhow!(
            "this kernel keeps no table of foreign programs per user namespace (Linux 6.7 does), and the machine's own does not \
             run those of the board ({e}): as root, register {} with the flag F (Debian: apt-get install qemu-user-static \
             binfmt-support), or build on a newer kernel",
            foreign.interpreter.display()
        )),
        ran => ran.map(drop).map_err(Into::into),
    }
}

/// Linux 6.7 and later keep a table of foreign executables per user namespace; before, only the host's counts.
pub(super) fn register(root: &Path, foreign: &Foreign) -> anyhow::Result<Table> {
    let at = root.join("proc").join(TABLE);
    let own = fs_mount(
        "binfmt_misc",
        &at,
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        None,
    );
    if own.is_err() {
        return Ok(Table::Hosts);
    }
    // Documentation/admin-guide/binfmt-misc.rst: `:name:type:offset:magic:mask:interpreter:flags`, F opens the interpreter now.
    let line = format!(
        ":{}:M::{}:{}:{}:F",
        foreign.name,
        foreign.magic,
        foreign.mask,
        foreign.interpreter.display()
    );
    write_proc(&at.join("register").display().to_string(), line.as_bytes()).map_err(|e| {
        anyhow::anyhow!(
            "cannot register {} for foreign programs: {e}",
            foreign.interpreter.display()
        )
    })?;
    Ok(Table::Own)
}
