//! The faults that the matrix multiplies.

/// What is wrong with `/data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Data {
    Fine,
    Full,
    ReadOnly,
    Corrupt,
    Gone,
    Slow,
}

impl Data {
    pub(super) const ALL: [Self; 6] = [
        Self::Fine,
        Self::Full,
        Self::ReadOnly,
        Self::Corrupt,
        Self::Gone,
        Self::Slow,
    ];
}

/// What became of the owner's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Config {
    Fine,
    Broken,
    Newer,
    Gone,
}

impl Config {
    pub(super) const ALL: [Self; 4] = [Self::Fine, Self::Broken, Self::Newer, Self::Gone];
}

/// What the release brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Software {
    Good,
    /// Its self-tests fail.
    Bad,
    /// Its agent does not start, neither the daemon nor the last resort.
    NoStart,
    /// Its daemon hangs.
    Hangs,
    /// Its daemon crashes again and again.
    Crashes,
    /// Something eats the memory; the daemon is killed each time.
    NoMemory,
    /// It proves good, is kept, and does not come up any more from then on: its kernel panics, its root is damaged.
    Rots,
}

impl Software {
    pub(super) const ALL: [Self; 7] = [
        Self::Good,
        Self::Bad,
        Self::NoStart,
        Self::Hangs,
        Self::Crashes,
        Self::NoMemory,
        Self::Rots,
    ];

    /// It runs well enough to be kept.
    pub(super) const fn passes(self) -> bool {
        matches!(self, Self::Good | Self::Rots)
    }
}

/// What is wrong with the boot state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Raw {
    Fine,
    OneBad,
    BothBad,
    Unreadable,
    /// The next write is refused, and none after it.
    Stumbles,
}

impl Raw {
    pub(super) const ALL: [Self; 5] = [
        Self::Fine,
        Self::OneBad,
        Self::BothBad,
        Self::Unreadable,
        Self::Stumbles,
    ];
}

/// What becomes of the lock service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fleet {
    /// None is set.
    None,
    Grants,
    /// Somebody else has the only slot.
    Full,
    /// It does not answer.
    Dead,
    /// It grants, and the answer is lost.
    Deaf,
}

impl Fleet {
    pub(super) const ALL: [Self; 4] = [Self::Grants, Self::Full, Self::Dead, Self::Deaf];
}
