//! What belongs to the file: each part with its source and its limits.

/// Where a part comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// A file.
    File(&'static str),
    /// A file of JSON in one line, with one line for each value: secrets are looked for line by line.
    Json(&'static str),
    /// The keys of a YAML file whose values are the owner's secrets.
    Outline(&'static str),
    /// All files in a folder whose names end so.
    Folder(&'static str, &'static str),
    /// The names in folders, without what is in them.
    Names(&'static [&'static str]),
    /// What a program prints.
    Command(&'static [&'static str]),
    /// Lines of the journal, as these words of `journalctl` choose them.
    Journal(&'static [&'static str]),
    /// What this program prints, as a process of its own: a part that hangs or dies takes nothing along.
    Own(&'static [&'static str]),
    /// What the HTTP half answers.
    Http(&'static str),
    /// The boot loader's memory, from the card itself.
    BootState,
    /// The kernel's messages, from the kernel itself.
    KernelLog,
    /// What cards and disks say of themselves.
    Disks,
}

/// One part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    /// Its name in the file.
    pub(super) name: &'static str,
    pub(super) source: Source,
    /// At most so many bytes of it.
    pub(super) limit: usize,
    /// It may take so many seconds.
    pub(super) seconds: u64,
}

const KIB: usize = 1024;

const fn part(name: &'static str, source: Source) -> Part {
    Part {
        name,
        source,
        limit: 64 * KIB,
        seconds: 5,
    }
}

const fn long(name: &'static str, source: Source, limit: usize) -> Part {
    Part {
        name,
        source,
        limit,
        seconds: 10,
    }
}

/// Everything, the most important first: where the time or the room ends, the rest is left out.
pub(super) const PARTS: &[Part] = {
    use Source::{
        BootState, Command, Disks, File, Folder, Http, Journal, Json, KernelLog, Names, Outline,
        Own,
    };
    &[
        long(
            "health/report.json",
            Json("/run/hypriot/report.json"),
            512 * KIB,
        ),
        long("update/status.json", Own(&["status", "--json"]), 256 * KIB),
        part("update/why.txt", Own(&["why"])),
        part("update/boot-state.txt", BootState),
        long(
            "update/record.json",
            Json("/data/hypriot/record.json"),
            256 * KIB,
        ),
        long(
            "update/failure.json",
            Json("/data/hypriot/failure.json"),
            128 * KIB,
        ),
        long(
            "update/last-failure.json",
            Json("/data/hypriot/last-failure.json"),
            128 * KIB,
        ),
        part("update/data-lost.txt", File("/run/hypriot/data-lost")),
        part("update/card.txt", File("/run/hypriot/card")),
        long(
            "journal/agent.log",
            Journal(&["-n", "3000", "-b", "-u", "hypriot-*"]),
            1024 * KIB,
        ),
        long("journal/kernel.log", KernelLog, 1024 * KIB),
        long(
            "journal/warnings.log",
            Journal(&["-n", "1000", "-b", "-p", "warning"]),
            512 * KIB,
        ),
        long(
            "journal/boot-before.log",
            Journal(&["-n", "1000", "-b", "-1", "-p", "notice"]),
            512 * KIB,
        ),
        part(
            "journal/boots.txt",
            Command(&["journalctl", "--no-pager", "--list-boots"]),
        ),
        part(
            "configuration/image.toml",
            File("/usr/lib/hypriot/agent.toml"),
        ),
        part(
            "configuration/owner.toml",
            Folder("/etc/hypriot/agent.d", ".toml"),
        ),
        part(
            "configuration/user-data.outline",
            Outline("/boot/user-data"),
        ),
        part(
            "configuration/network-config.outline",
            Outline("/boot/network-config"),
        ),
        part("configuration/config.txt", File("/boot/config.txt")),
        part(
            "configuration/names.txt",
            Names(&[
                "/etc/hypriot",
                "/etc/hypriot/agent.d",
                "/etc/hypriot/selftest.d",
                "/etc/hypriot/hooks.d",
                "/data/hypriot",
                "/run/hypriot",
                "/boot",
            ]),
        ),
        part("configuration/docker.json", File("/etc/docker/daemon.json")),
        part("health/http.txt", Http("/health?verbose")),
        part("health/readyz.txt", Http("/readyz?verbose")),
        part("system/os-release", File("/etc/os-release")),
        part("system/model", File("/proc/device-tree/model")),
        part("system/cmdline", File("/proc/cmdline")),
        part("system/version", File("/proc/version")),
        part("system/uptime", File("/proc/uptime")),
        part("system/cpuinfo", File("/proc/cpuinfo")),
        part("system/meminfo", File("/proc/meminfo")),
        part("system/pressure-memory", File("/proc/pressure/memory")),
        part("system/pressure-io", File("/proc/pressure/io")),
        part("system/vmstat", File("/proc/vmstat")),
        part("system/modules", File("/proc/modules")),
        part("system/mountinfo", File("/proc/self/mountinfo")),
        part("system/partitions", File("/proc/partitions")),
        part("system/diskstats", File("/proc/diskstats")),
        part("system/net-dev", File("/proc/net/dev")),
        part("system/disks.txt", Disks),
        part(
            "system/lsblk.txt",
            Command(&[
                "lsblk",
                "-o",
                "NAME,SIZE,TYPE,FSTYPE,LABEL,RO,MOUNTPOINTS,MODEL",
            ]),
        ),
        part("system/df.txt", Command(&["df", "-h"])),
        part("system/inodes.txt", Command(&["df", "-i"])),
        part(
            "system/failed-units.txt",
            Command(&["systemctl", "--failed", "--no-pager"]),
        ),
        part(
            "system/our-units.txt",
            Command(&[
                "systemctl",
                "status",
                "--no-pager",
                "-n",
                "0",
                "hypriot-*",
                "docker.service",
                "boot-complete.target",
            ]),
        ),
        part(
            "system/timers-and-jobs.txt",
            Command(&["systemctl", "list-jobs", "--no-pager"]),
        ),
        part(
            "system/boot-time.txt",
            Command(&["systemd-analyze", "critical-chain", "--no-pager"]),
        ),
        part(
            "system/clock.txt",
            Command(&["timedatectl", "show", "--all"]),
        ),
        part(
            "system/links.txt",
            Command(&["ip", "-brief", "-statistics", "link"]),
        ),
        part("system/routes.txt", Command(&["ip", "route"])),
        part("system/docker.txt", Command(&["docker", "info"])),
        part(
            "system/containers.txt",
            Command(&[
                "docker",
                "ps",
                "--all",
                "--format",
                "{{.Names}}\t{{.Image}}\t{{.Status}}",
            ]),
        ),
        part(
            "system/throttled.txt",
            Command(&["vcgencmd", "get_throttled"]),
        ),
        long(
            "system/packages.txt",
            Command(&["dpkg-query", "-W"]),
            256 * KIB,
        ),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_together_are_small_enough_to_send_and_have_names_of_their_own() {
        let bytes: usize = PARTS.iter().map(|part| part.limit).sum();
        assert!(bytes <= super::super::LIMIT, "{bytes}");
        let mut names: Vec<_> = PARTS.iter().map(|part| part.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PARTS.len());
    }
}
