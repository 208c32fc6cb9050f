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
