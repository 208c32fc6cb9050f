//! The kernel: what its own configuration says it can do, and the modules containers, networks and disks need.
//!
//! The options are those the old tests asserted, without the names that no kernel has any more (`NF_NAT_IPV4`,
//! `IOSCHED_CFQ`, `DEVPTS_MULTIPLE_INSTANCES`, …) and with what our own layout needs.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};

use super::{Card, Findings};
use crate::formats::Blocks;
use crate::formats::erofs::read::Erofs;

/// Compiled in or as a module.
pub(super) const OPTIONS: [&str; 62] = [
    // limits on containers
    "BLK_CGROUP",
    "BLK_DEV_THROTTLING",
    "CFS_BANDWIDTH",
    "CGROUPS",
    "CGROUP_CPUACCT",
    "CGROUP_DEVICE",
    "CGROUP_FREEZER",
    "CGROUP_PIDS",
    "CGROUP_SCHED",
    "CPUSETS",
    "FAIR_GROUP_SCHED",
    "MEMCG",
    // walls between them
    "IPC_NS",
    "KEYS",
    "NAMESPACES",
    "NET_NS",
    "PID_NS",
    "POSIX_MQUEUE",
    "SECCOMP",
    "SECCOMP_FILTER",
    "USER_NS",
    "UTS_NS",
    // their networks
    "BRIDGE",
    "BRIDGE_NETFILTER",
    "DUMMY",
    "IPVLAN",
    "IP_NF_FILTER",
    "IP_NF_NAT",
    "IP_NF_TARGET_MASQUERADE",
    "IP_VS",
    "MACVLAN",
    "NETFILTER_XT_MATCH_ADDRTYPE",
    "NETFILTER_XT_MATCH_CONNTRACK",
    "NETFILTER_XT_MATCH_IPVS",
    "NETFILTER_XT_MARK",
    "NF_NAT",
    "NF_TABLES",
    "VETH",
    "VXLAN",
    "XFRM_ALGO",
    "XFRM_USER",
    // their disks
    "BLK_DEV_DM",
    "BTRFS_FS",
    "DM_THIN_PROVISIONING",
    "EXT4_FS",
    "EXT4_FS_POSIX_ACL",
    "EXT4_FS_SECURITY",
    "OVERLAY_FS",
    // looking into it
    "DYNAMIC_FTRACE",
    "EVENT_TRACING",
    "FTRACE",
    "KPROBES",
    "HW_RANDOM",
    // the card's layout and the initramfs
    "BLK_DEV_INITRD",
    "DEVTMPFS",
    "DM_VERITY",
    "EROFS_FS",
    "MSDOS_PARTITION",
    "RD_ZSTD",
    "TMPFS",
    "VFAT_FS",
    "WATCHDOG",
];
/// Of those, what only kernels for several processors can have (linux, init/Kconfig: `depends on SMP`). That of the Raspberry Pi
/// Zero and 1 is for one, and Docker starts no container with `--cpuset-cpus` there.
const SMP_ONLY: [&str; 1] = ["CPUSETS"];
/// In the tree as a file, or in the kernel itself.
pub(super) const MODULES: [&str; 24] = [
    "br_netfilter",
    "bridge",
    "btrfs",
    "dm_thin_pool",
    "dm_verity",
    "dummy",
    "erofs",
    "ext4",
    "ip_gre",
    "ip_vs",
    "ipvlan",
    "iptable_nat",
    "macvlan",
    "nf_conntrack",
    "nf_nat",
    "nf_tables",
    "openvswitch",
    "overlay",
    "veth",
    "vfat",
    "vxlan",
    "xfrm_user",
    "xt_MASQUERADE",
    "xt_addrtype",
];

/// The release of the only kernel of a root file system.
pub(crate) fn release<B: Blocks + ?Sized>(root: &Erofs<'_, B>) -> Result<String> {
    let mut names = root.names.keys().filter_map(|p| {
        p.strip_prefix("usr/lib/modules/")?
            .strip_suffix("/modules.dep")
            .filter(|name| !name.contains('/'))
    });
    match (names.next(), names.next()) {
        (Some(one), None) => Ok(one.to_owned()),
        (None, _) => bail!("there is none: no /usr/lib/modules/*/modules.dep"),
        (Some(one), Some(other)) => bail!("there are several: {one} and {other}"),
    }
}

pub(super) fn check<B: Blocks + ?Sized>(card: &Card<'_, B>, found: &mut Findings) {
    let dir = format!("usr/lib/modules/{}", card.kernel);
    let config = card.text(&format!("{dir}/config"));
    if let Some(config) = found.keep("the kernel's configuration can be read", config) {
        let set: BTreeSet<&str> = config
            .lines()
            .filter_map(|l| l.strip_prefix("CONFIG_")?.split_once('='))
            .filter(|(_, value)| ["y", "m"].contains(value))
            .map(|(name, _)| name)
            .collect();
        for option in OPTIONS {
            let is = || {
                let needless = SMP_ONLY.contains(&option) && !set.contains("SMP");
                ensure!(set.contains(option) || needless, "it is not set");
                Ok(())
            };
            found.check(format!("the kernel has {option}"), is());
        }
    }
    let modules = modules(card, &dir);
    let Some(modules) = found.keep("the kernel's modules are listed", modules) else {
        return;
    };
    for name in MODULES {
        let there = || {
            let path = modules.iter().find(|(n, _)| n == name);
            let (_, path) = path.context("neither a module nor part of the kernel")?;
            match path {
                Some(path) => card.root.get(path).map(drop),
                None => Ok(()),
            }
        };
        found.check(format!("module {name} is there"), there());
    }
    let all = || {
        for path in modules.iter().filter_map(|(_, path)| path.as_ref()) {
            card.root.get(path)?;
        }
        Ok(())
    };
    found.check("every module that is listed is there", all());
}

/// Name of each module and the file it lies in; none if it is part of the kernel.
fn modules<B: Blocks + ?Sized>(
    card: &Card<'_, B>,
    dir: &str,
) -> Result<Vec<(String, Option<String>)>> {
    let name = |path: &str| {
        let file = path.rsplit('/').next().unwrap_or(path);
        file.split(".ko").next().unwrap_or(file).replace('-', "_")
    };
    let dep = card.text(&format!("{dir}/modules.dep"))?;
    let builtin = card.text(&format!("{dir}/modules.builtin"))?;
    let files = dep
        .lines()
        .filter_map(|l| Some(l.split_once(':')?.0))
        .map(|path| (name(path), Some(format!("{dir}/{path}"))));
    Ok(files
        .chain(builtin.lines().map(|path| (name(path), None)))
        .collect())
}
