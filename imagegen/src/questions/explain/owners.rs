//! Who a file of a card belongs to: the package that brought it, or who made it.

use crate::bake::origins::{self, BootFiles};
use crate::bake::{AGENT, SETTINGS, TRUST_ROOT};
use crate::debian::dpkg::{self, Package, Records};
use crate::formats::Blocks;
use crate::formats::erofs::read::Erofs;
use crate::imagecheck;

/// What the image says about where its files are from. Damaged records know nothing; the rest is told all the same.
pub(super) struct Owners<'a, B: ?Sized> {
    root: Option<&'a Erofs<'a, B>>,
    records: Records,
    boot_files: Option<BootFiles>,
}

type Owner = (Option<Package>, Option<&'static str>);

const IMAGEGEN: &str = "made by hypriot-imagegen";

impl<'a, B: Blocks + ?Sized> Owners<'a, B> {
    pub(super) fn of(root: Option<&'a Erofs<'a, B>>) -> Self {
        let records = root.and_then(|r| imagecheck::records(r, dpkg::DIR).ok());
        let boot_files = root.and_then(|r| BootFiles::parse(&r.read(origins::RECORD).ok()?).ok());
        Self {
            root,
            records: records.unwrap_or_default(),
            boot_files,
        }
    }

    /// Of a file of the root file system.
    pub(super) fn root(&self, path: &str) -> Owner {
        if let Some(package) = self.records.owner(path) {
            return (Some(package.clone()), None);
        }
        let made = match path {
            AGENT => "the agent of this image",
            SETTINGS | TRUST_ROOT | origins::RECORD => IMAGEGEN,
            p if p.starts_with("usr/lib/systemd/system/hypriot-")
                || p.starts_with("usr/share/hypriot/") =>
            {
                "of HypriotOS itself"
            }
            _ => {
                "of no package: made by a package's script, or laid over by the recipe or hypriot-imagegen"
            }
        };
        (None, Some(made))
    }

    /// Of a file of a boot partition.
    pub(super) fn boot(&self, path: &str) -> Owner {
        let kernel = || {
            let old = self.records.first_below("boot/vmlinuz-").map(|(_, p)| p);
            // Debian's kernels from 7 on lie in the folder of their modules.
            old.or_else(|| {
                let names = self.root.iter().flat_map(|r| r.names.keys());
                let mut images =
                    names.filter(|p| p.starts_with("usr/lib/modules/") && p.ends_with("/vmlinuz"));
                images.find_map(|p| self.records.owner(p))
            })
        };
        if path == hypriot_updater::boot::script::KERNEL {
            return (kernel().cloned(), None);
        }
        if path == hypriot_updater::boot::script::INITRAMFS {
            return (
                None,
                Some("made by hypriot-imagegen of the agent and modules of the kernel"),
            );
        }
        if let Some(name) = path.strip_prefix("dtbs/") {
            let mut same = self.root.iter().flat_map(|r| r.names.keys()).filter(|p| {
                let folder = p.starts_with("usr/lib/linux-image-") || p.contains("/dtb/");
                folder && p.ends_with(&format!("/{name}"))
            });
            if let Some(package) = same.find_map(|p| self.records.owner(p)) {
                return (Some(package.clone()), None);
            }
        }
        (None, Some(IMAGEGEN))
    }

    /// Of a file of the first partition.
    pub(super) fn config(&self, path: &str) -> Owner {
        match self.boot_files.as_ref().and_then(|b| b.file(path)) {
            Some(row) => (row.package.clone(), None),
            None if path == "user-data" || path == "network-config" => {
                (None, Some("the owner's to edit"))
            }
            None => (None, Some(IMAGEGEN)),
        }
    }

    /// The blobs before the first partition: place, length, name, owner.
    pub(super) fn blobs(&self) -> Vec<(u64, u64, String, Owner)> {
        let rows = self.boot_files.iter().flat_map(|b| &b.files);
        rows.filter_map(|row| {
            let made = row.package.is_none().then_some("given by the user");
            Some((
                row.at?,
                row.size,
                row.file.clone(),
                (row.package.clone(), made),
            ))
        })
        .collect()
    }
}
