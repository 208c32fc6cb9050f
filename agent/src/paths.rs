//! Where the initramfs leaves word for those who run later: files in `/run`, which no power cut outlives.

/// Which device the board booted from.
pub const CARD: &str = "/run/hypriot/card";
/// There in a boot that began as the trial of the slot that runs.
pub const TRIED: &str = "/run/hypriot/trial";
/// There where the data partition could not be used, and why.
pub const DATA_LOST: &str = "/run/hypriot/data-lost";
/// The first line of [`DATA_LOST`] if the owner had closed `/health` to the network.
pub const LOCAL: &str = "local";
/// There when the data partition had not been unmounted: power was lost, or the board hung.
pub const UNCLEAN: &str = "/run/hypriot/unclean";
/// Which release's root runs ([`crate::packages::release`]); there on boards whose owner added packages.
pub const RELEASE: &str = "/run/hypriot/release";
/// The layer of the owner's packages that lies over the root.
pub const LAYER: &str = "/run/hypriot/layer";
/// There where one would fit and was left out, and why.
pub const LAYER_LEFT: &str = "/run/hypriot/layer-left-out";
/// Why the layer for this release could not be made in this boot.
pub const PACKAGES_FAILED: &str = "/run/hypriot/packages-failed";
