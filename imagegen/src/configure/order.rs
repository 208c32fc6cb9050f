//! The order in which packages' scripts are run, in words of dpkg.
//!
//! All packages are unpacked before the first script runs. What dpkg would have run before it unpacked a package, its preinst, comes
//! first, each after those of the packages it needs. Before the preinst of a package with Pre-Depends, those are configured, as
//! policy 7.2 promises: mariadb-server's calls adduser, which reads what adduser's own postinst wrote. What every system has
//! (Essential, and what that needs) works unpacked, by policy 3.8; so no preinst waits for it. But nobody depends on it either, and
//! not all of it does: there is no `awk` before mawk's postinst chose one. So it is configured before all others, as debootstrap does,
//! and not when dpkg comes to it.

use std::collections::{BTreeMap, BTreeSet};

use super::Job;
use crate::sandbox::Step;

/// Seconds `dpkg --configure` may take: far more than the slowest emulation needs.
pub(super) const CONFIGURE_LIMIT: u64 = 2 * 3600;

/// All steps of a tree.
pub(super) fn steps(job: &Job<'_>) -> Vec<Step> {
    let graph = Graph::of(job);
    let mut steps = Vec::new();
    let everywhere = graph.everywhere();
    let mut configured: BTreeSet<usize> = everywhere.iter().copied().collect();
    for i in graph.order() {
        if !job.unpacked[i].control.has("preinst") {
            continue;
        }
        let before = graph.before(i);
        let waits = before
            .iter()
            .any(|n| !configured.contains(n) && job.unpacked[*n].control.has("postinst"));
        if waits {
            steps.push(waiting(&graph, &before));
            configured.extend(before);
        }
        steps.push(preinst(job, i));
    }
    steps.push(waiting(&graph, &everywhere));
    steps.push(configure(job, "-a"));
    steps
}

/// Configures those of the named packages that are not: dpkg takes it for an error to be asked twice (dpkg(1), `--configure`).
const WAITING: &str = r#"waiting=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" | while read -r name state; do
  [ "$state" = installed ] || echo "$name"
done)
[ -z "$waiting" ] || exec dpkg --force-confold --force-unsafe-io --configure $waiting 2>&1"#;

/// `dpkg --configure` of these packages, as far as they wait for it.
fn waiting(graph: &Graph<'_>, packages: &[usize]) -> Step {
    let shell = ["/bin/sh", "-c", WAITING, "sh"];
    let names = packages.iter().map(|n| graph.name(*n));
    let argv = shell.into_iter().chain(names);
    Step {
        what: "pre-configure".to_owned(),
        argv: argv.map(str::to_owned).collect(),
        env: environment(graph.job, &[]),
        seconds: CONFIGURE_LIMIT,
    }
}

/// `dpkg --configure` of this package, or of all (`-a`).
pub(super) fn configure(job: &Job<'_>, name: &str) -> Step {
    let argv = [
        "dpkg",
        "--force-confold",
        "--force-unsafe-io",
        "--configure",
        name,
    ];
    Step {
        what: "configure".to_owned(),
        argv: in_order(&argv),
        env: environment(job, &[]),
        seconds: CONFIGURE_LIMIT,
    }
}

/// `dpkg` unpacks and configures these files. A package with Pre-Depends among them is refused until those are configured, so what was
/// refused has a second turn.
const ADD: &str = r#"dpkg="dpkg --force-confold --force-unsafe-io"
$dpkg --unpack "$@" 2>&1 || { $dpkg --configure -a 2>&1 && $dpkg --unpack "$@" 2>&1; } || exit
exec $dpkg --configure -a 2>&1"#;

/// Installs files of packages that lie in the tree.
pub(super) fn add(job: &Job<'_>, debs: &[String]) -> Step {
    let shell = ["/bin/sh", "-c", ADD, "sh"].map(str::to_owned);
    Step {
        what: "add".to_owned(),
        argv: shell.into_iter().chain(debs.iter().cloned()).collect(),
        env: environment(job, &[]),
        seconds: CONFIGURE_LIMIT,
    }
}

fn preinst(job: &Job<'_>, i: usize) -> Step {
    let (package, unpacked) = (&job.packages[i], &job.unpacked[i]);
    Step {
        what: format!("preinst {}", package.name),
        argv: in_order(&[
            &format!("/var/lib/dpkg/info/{}.preinst", unpacked.info_name),
            "install",
        ]),
        // dpkg(1), "Environment": what maintainer scripts find set.
        env: environment(
            job,
            &[
                ("DPKG_MAINTSCRIPT_PACKAGE", &package.name),
                ("DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT", "1"),
                ("DPKG_MAINTSCRIPT_ARCH", &package.arch),
                ("DPKG_MAINTSCRIPT_NAME", "preinst"),
                ("DPKG_ADMINDIR", "/var/lib/dpkg"),
                ("DPKG_ROOT", ""),
            ],
        ),
        seconds: 600,
    }
}

/// A program whose two streams are one: what a script said must not be heard after dpkg's word that it failed.
pub(super) fn in_order(argv: &[&str]) -> Vec<String> {
    let shell = ["/bin/sh", "-c", "exec \"$0\" \"$@\" 2>&1"];
    shell.iter().chain(argv).map(|s| (*s).to_owned()).collect()
}

fn environment(job: &Job<'_>, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let date = job.source_date.to_string();
    more.iter()
        .copied()
        .chain([("SOURCE_DATE_EPOCH", date.as_str())])
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

/// Which package needs which, by their numbers.
struct Graph<'a> {
    job: &'a Job<'a>,
    /// Who has a name, or stands for it: `awk` is mawk's.
    by_name: BTreeMap<&'a str, Vec<usize>>,
}

impl<'a> Graph<'a> {
    fn of(job: &'a Job<'a>) -> Self {
        let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (i, (package, unpacked)) in job.packages.iter().zip(job.unpacked).enumerate() {
            let own = std::iter::once(package.name.as_str());
            for name in own.chain(unpacked.control.provides()) {
                by_name.entry(name).or_default().push(i);
            }
        }
        Self { job, by_name }
    }

    fn name(&self, i: usize) -> &str {
        &self.job.packages[i].name
    }

    fn known<'b>(
        &'b self,
        names: impl Iterator<Item = &'b str> + 'b,
    ) -> impl Iterator<Item = usize> + 'b {
        names.filter_map(|n| self.by_name.get(n)).flatten().copied()
    }

    /// These and all they need, each after what it needs.
    fn closure(&self, from: impl Iterator<Item = usize>) -> Vec<usize> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for start in from {
            let mut stack = vec![(start, false)];
            while let Some((i, ready)) = stack.pop() {
                if ready {
                    order.push(i);
                } else if seen.insert(i) {
                    stack.push((i, true));
                    let needs = self.known(self.job.unpacked[i].control.needs());
                    stack.extend(needs.map(|n| (n, false)));
                }
            }
        }
        order
    }

    /// All packages; the accounts and the base directories before all.
    fn order(&self) -> Vec<usize> {
        let early = self.known(["base-passwd", "base-files"].into_iter());
        self.closure(early.chain(self.by_name.values().flatten().copied()))
    }

    /// What must be configured before a package's preinst.
    fn before(&self, i: usize) -> Vec<usize> {
        let mut all = self.closure(self.known(self.job.unpacked[i].control.pre_needs()));
        // A circle through the package itself cannot be waited for.
        all.retain(|n| *n != i);
        all
    }

    /// What every system has, each after what it needs.
    fn everywhere(&self) -> Vec<usize> {
        let all = 0..self.job.packages.len();
        self.closure(all.filter(|i| self.job.unpacked[*i].control.is_essential()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Arch;
    use crate::configure::Mode;
    use crate::lock::LockedPackage;
    use crate::sha256::Sha256;
    use crate::unpack::{Control, Unpacked};

    fn package(text: &str) -> (LockedPackage, Unpacked) {
        let control = Control::said(text);
        let name = text.lines().next().unwrap().replace("Package: ", "");
        let locked = LockedPackage {
            name: name.clone(),
            version: "1".into(),
            arch: "all".into(),
            source: name.clone(),
            archive: "main".into(),
            filename: "none".into(),
            size: 1,
            installed_kib: 1,
            sha256: Sha256::of(text.as_bytes()),
        };
        let unpacked = Unpacked {
            info_name: name,
            control,
            list: Vec::new(),
        };
        (locked, unpacked)
    }

    #[test]
    fn what_every_system_has_is_configured_before_all_others_though_nobody_depends_on_it() {
        // awk is no package; locales asks it, and depends neither on it nor on mawk
        let (packages, unpacked): (Vec<_>, Vec<_>) = [
            "Package: base-files\nEssential: yes\nPre-Depends: awk",
            "Package: locales",
            "Package: mawk\nProvides: awk\nPre-Depends: libc6",
            "Package: libc6",
        ]
        .into_iter()
        .map(package)
        .unzip();
        let steps = steps(&Job {
            root: "/".as_ref(),
            arch: Arch::host().unwrap(),
            packages: &packages,
            unpacked: &unpacked,
            tools: None,
            mode: Mode::Auto,
            helper: "/".as_ref(),
            source_date: 0,
        });
        let [first, all] = &steps[..] else {
            panic!("{steps:?}");
        };
        assert_eq!(first.what, "pre-configure");
        assert!(
            first
                .argv
                .ends_with(&["libc6", "mawk", "base-files"].map(str::to_owned))
        );
        assert!(all.argv.ends_with(&["-a".to_owned()]), "{all:?}");
    }
}
