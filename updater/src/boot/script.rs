//! The U-Boot script that keeps and obeys the boot state.
//!
//! One text for every board that U-Boot starts: `devtype` and `devnum` are set by U-Boot's distro boot to the device
//! the script came from (U-Boot `include/config_distro_bootcmd.h`), so the same lines serve `mmc` and `virtio`.
//! It uses only commands that Debian's builds have; they have no `BOOTCOUNT`, so the script counts itself. Some have no
//! arithmetic either (`setexpr`: ODROID XU4, most Rockchip boards). There the sequence number stays what the agent wrote, and
//! of two copies with the same one that counts which is further ([`super::state::Copies::newest`]).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::state::{Phase, name};
use super::{owner, start};
use crate::layout::{self, SECTOR};
use crate::slot::Slot;

/// What differs between boards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptBoard<'a> {
    /// Kernel arguments of the board, such as `console=ttyAMA0`.
    pub arguments: &'a str,
    /// How its kernel image is started.
    pub kernel: KernelCommand,
    /// Device tree file in the slot's boot partition; `None`: the one the firmware handed to U-Boot.
    pub device_tree: Option<&'a str>,
    /// Where to load to; `None`: where U-Boot's environment says.
    pub addresses: Option<Addresses>,
}

/// Places in the board's memory, for a U-Boot whose own are too small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// `kernel_addr_r`
    pub kernel: u64,
    /// `fdt_addr_r`
    pub device_tree: u64,
    /// `ramdisk_addr_r`
    pub initramfs: u64,
}

/// U-Boot's command for a kind of kernel image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelCommand {
    /// 64-bit `Image`.
    Booti,
    /// 32-bit `zImage`.
    Bootz,
}

impl KernelCommand {
    const fn name(self) -> &'static str {
        match self {
            Self::Booti => "booti",
            Self::Bootz => "bootz",
        }
    }
}

/// File name of the kernel in a slot's boot partition.
pub const KERNEL: &str = "vmlinuz";
/// File name of the initramfs in a slot's boot partition.
pub const INITRAMFS: &str = "initrd.zst";
/// Kernel argument that tells the initramfs its slot.
pub const ARG_SLOT: &str = "hypriot.slot";
/// Kernel argument that tells the initramfs its disk: the MBR signature, eight hexadecimal digits.
pub const ARG_DISK: &str = "hypriot.disk";
/// Its value where the kernel does not come from the disk it is to start: any disk that is a card of ours.
pub const ANY_DISK: &str = "any";

/// The text of `boot.scr` for a board.
///
/// Order of things: pick the newer valid copy; do what [`super::start`] says, writing to the *other* copy; only when
/// that write was read back right is another slot than the default started. Without a valid copy the card is taken for
/// a fresh one, and counted from then on. A slot that cannot even be loaded: on trial, reset (the next start finds
/// `trying` and goes back); else the other slot has its turn. An incomplete slot never loads, because the agent writes
/// the first segment of its boot partition last.
pub fn script(board: &ScriptBoard<'_>) -> String {
    let owner = owner::script(name::STARTS);
    [
        read_state(board),
        next_slot(),
        keep_state(),
        owner,
        load(board),
    ]
    .concat()
}

/// Picks the newer valid copy; `hy_other` is where the other one lies. Memory for them is where the kernel and the initramfs
/// come to lie afterwards: every U-Boot that starts Linux has these two places.
fn read_state(board: &ScriptBoard<'_>) -> String {
    let size = layout::BOOT_STATE_SIZE;
    let blocks = size as u64 / SECTOR;
    let [first, second] = layout::BOOT_STATE.map(|at| at / SECTOR);
    let all = name::ALL.join(" ");
    let (seq, default, trial, slot) = (name::SEQ, name::DEFAULT, name::TRIAL, name::SLOT);
    let (starts, id, boots) = (name::STARTS, name::ID, name::BOOTS);
    // carried along; not in the blocks of older agents
    let (deadline, failed, local) = (name::DEADLINE, name::FAILED, name::LOCAL);
    let (armed, lost) = (Phase::Armed.name(), Phase::Lost.name());
    let addresses = board.addresses.map_or_else(String::new, |at| {
        format!(
            "setenv kernel_addr_r 0x{:x}\nsetenv fdt_addr_r 0x{:x}\nsetenv ramdisk_addr_r 0x{:x}\n",
            at.kernel, at.device_tree, at.initramfs
        )
    });
    format!(
        "\
echo HypriotOS: reading the boot state
{addresses}setenv hy_m1 ${{kernel_addr_r}}
setenv hy_m2 ${{ramdisk_addr_r}}
setenv hy_q1
setenv hy_q2
setenv {default} a
setenv {trial} none
setenv {starts} 0
${{devtype}} dev ${{devnum}}
if ${{devtype}} read ${{hy_m1}} 0x{first:x} 0x{blocks:x}; then if env import -c ${{hy_m1}} 0x{size:x} {all}; then setenv hy_q1 ${{{seq}}}; setenv hy_s1 ${{{starts}}}; setenv hy_t1 ${{{trial}}}; fi; fi
setenv {starts} 0
if ${{devtype}} read ${{hy_m2}} 0x{second:x} 0x{blocks:x}; then if env import -c ${{hy_m2}} 0x{size:x} {all}; then setenv hy_q2 ${{{seq}}}; setenv hy_s2 ${{{starts}}}; setenv hy_t2 ${{{trial}}}; fi; fi
setenv hy_pick 0
if test -n \"${{hy_q1}}\"; then setenv hy_pick 1; fi
if test -n \"${{hy_q2}}\"; then
  if test -n \"${{hy_q1}}\"; then
    if test 0x${{hy_q2}} -gt 0x${{hy_q1}}; then setenv hy_pick 2; fi
    if test 0x${{hy_q2}} -eq 0x${{hy_q1}}; then
      if test 0x${{hy_s2}} -gt 0x${{hy_s1}}; then setenv hy_pick 2; fi
      if test 0x${{hy_s2}} -eq 0x${{hy_s1}}; then
        if test ${{hy_t1}} = {armed}; then if test ${{hy_t2}} != {armed}; then setenv hy_pick 2; fi; fi
        if test ${{hy_t2}} = {lost}; then if test ${{hy_t1}} != {lost}; then setenv hy_pick 2; fi; fi
      fi
    fi
  else
    setenv hy_pick 2
  fi
fi
setenv {starts} 0
setenv {deadline} 0
setenv {failed} -
setenv {local} 0
setenv hy_other 0x{first:x}
if test ${{hy_pick}} = 1; then env import -c ${{hy_m1}} 0x{size:x} {all}; setenv hy_other 0x{second:x}; fi
if test ${{hy_pick}} = 2; then env import -c ${{hy_m2}} 0x{size:x} {all}; fi
if test ${{hy_pick}} = 0; then
  echo HypriotOS: no valid boot state, taking the card for a fresh one
  setenv {seq} 0
  setenv {default} a
  setenv {trial} none
  setenv {slot} a
  setenv {id} -
  setenv {boots} 0
fi
"
    )
}

/// What [`super::start`] says: `hy_next` once the state has been written, `hy_boot` until then.
fn next_slot() -> String {
    let (default, trial, slot, starts) = (name::DEFAULT, name::TRIAL, name::SLOT, name::STARTS);
    let (max, both) = (start::MAX_STARTS, 2 * start::MAX_STARTS);
    // A table instead of a sum. Downwards, so that what was counted is not found again.
    let counts: Vec<String> = (0..both).rev().map(|n| format!("{n:x}")).collect();
    let counts = counts.join(" ");
    format!(
        "\
setenv hy_boot ${{{default}}}
setenv hy_next ${{{default}}}
setenv hy_write 0
setenv hy_tried 0
setenv hy_pause 0
if test ${{{trial}}} = armed; then
  setenv {trial} trying
  setenv hy_next ${{{slot}}}
  setenv hy_write 1
else
  if test ${{{trial}}} = trying; then setenv {trial} lost; setenv hy_write 1; fi
  if test 0x${{{starts}}} -lt 0x{both:x}; then
    setenv hy_next_count {both:x}
    for hy_count in {counts}; do
      if test 0x${{{starts}}} -eq 0x${{hy_count}}; then setenv {starts} ${{hy_next_count}}; fi
      setenv hy_next_count ${{hy_count}}
    done
    setenv hy_write 1
    if test 0x${{{starts}}} -gt 0x{max:x}; then
      if test ${{{default}}} = a; then setenv hy_next b; else setenv hy_next a; fi
    fi
  else
    setenv hy_pause 1
  fi
fi
"
    )
}

/// Writes the state where it changed, reads it back, and only then obeys it.
fn keep_state() -> String {
    let size = layout::BOOT_STATE_SIZE;
    let blocks = size as u64 / SECTOR;
    let all = name::ALL.join(" ");
    let (seq, trial) = (name::SEQ, name::TRIAL);
    format!(
        "\
setenv hy_kept 0
if test ${{hy_write}} = 1; then
  setexpr {seq} ${{{seq}}} + 1
  if env export -c -s 0x{size:x} ${{hy_m1}} {all}; then
    if ${{devtype}} write ${{hy_m1}} ${{hy_other}} 0x{blocks:x}; then
      mw.b ${{hy_m2}} 0 0x{size:x}
      if ${{devtype}} read ${{hy_m2}} ${{hy_other}} 0x{blocks:x}; then
        if cmp.b ${{hy_m1}} ${{hy_m2}} 0x{size:x}; then
          setenv hy_kept 1
          setenv hy_boot ${{hy_next}}
          if test ${{{trial}}} = trying; then setenv hy_tried 1; fi
        fi
      fi
    fi
  fi
fi
"
    )
}

/// Loads the slot and starts it; what comes after that only runs where it does not load.
fn load(board: &ScriptBoard<'_>) -> String {
    let (default, trial, starts, pause) = (name::DEFAULT, name::TRIAL, name::STARTS, start::PAUSE);
    let (part_a, part_b) = (layout::boot(Slot::A).number, layout::boot(Slot::B).number);
    let board_tree = match board.device_tree {
        Some(file) => format!(
            "setenv hy_tree ${{fdt_addr_r}}; load ${{devtype}} ${{devnum}}:${{hy_part}} ${{fdt_addr_r}} {file}"
        ),
        // qemu and firmware that hands over a tree set one of these two; `fdt_addr` is the unchanged one.
        None => "setenv hy_tree ${hy_fdt}".into(),
    };
    format!(
        "\
setenv hy_part {part_a}
if test ${{hy_boot}} = b; then setenv hy_part {part_b}; fi
echo HypriotOS: default slot ${{{default}}}, trial ${{{trial}}}, starting slot ${{hy_boot}}, starts ${{{starts}}}
if test ${{hy_pause}} = 1; then echo HypriotOS: neither slot comes up, waiting {pause} s; sleep {pause}; fi
setenv hy_fdt ${{fdt_addr}}
if test -z \"${{hy_fdt}}\"; then setenv hy_fdt ${{fdtcontroladdr}}; fi
setenv hy_board_tree '{board_tree}'
setenv hy_load_tree 'run hy_board_tree'
if test \"x${{{tree}}}\" != xnone; then
  if test \"x${{{tree}}}\" = x{firmware}; then
    setenv hy_load_tree 'setenv hy_tree ${{hy_fdt}}'
  else
    setenv hy_load_tree 'setenv hy_tree ${{fdt_addr_r}}; load ${{devtype}} ${{devnum}}:${{hy_part}} ${{fdt_addr_r}} \"dtbs/${{{tree}}}\" || run hy_board_tree'
  fi
fi
setenv hy_run 'part uuid ${{devtype}} ${{devnum}}:${{hy_part}} hy_uuid; setenv bootargs \"{arguments} ${{hy_args}}panic=5 {arg_owner}=${{hy_own}} {arg_slot}=${{hy_boot}} {arg_disk}=${{hy_uuid}}\"; echo \"HypriotOS: arguments ${{bootargs}}\"; if load ${{devtype}} ${{devnum}}:${{hy_part}} ${{kernel_addr_r}} {KERNEL} && run hy_load_tree && load ${{devtype}} ${{devnum}}:${{hy_part}} ${{ramdisk_addr_r}} {INITRAMFS}; then {start} ${{kernel_addr_r}} ${{ramdisk_addr_r}}:${{filesize}} ${{hy_tree}}; fi'
run hy_run
echo HypriotOS: slot ${{hy_boot}} does not load
if test ${{hy_tried}} = 0; then
  if test ${{hy_boot}} = a; then setenv hy_boot b; setenv hy_part {part_b}; else setenv hy_boot a; setenv hy_part {part_a}; fi
  echo HypriotOS: last resort, starting slot ${{hy_boot}}
  run hy_run
fi
sleep 5
reset
",
        arguments = board.arguments,
        arg_owner = owner::ARG,
        arg_slot = ARG_SLOT,
        arg_disk = ARG_DISK,
        tree = owner::DEVICE_TREE,
        firmware = owner::FIRMWARE,
        start = board.kernel.name(),
    )
}

#[cfg(test)]
mod tests;
