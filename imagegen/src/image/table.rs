//! Owns the reading of a partition table out of an image, a card, or a part of either.

use anyhow::{Context, Result};
use hypriot_updater::mbr::{ReadError, Table};

use crate::formats::Blocks;

#[cfg(test)]
mod tests;

/// Reads the table; every partition of it lies on the disk.
pub fn read<B: Blocks + ?Sized>(disk: &B) -> Result<Table> {
    let table = Table::parse(|at, sector| disk.read_at(at, sector))
        .map_err(|e| match e {
            ReadError::Disk(e) => e,
            ReadError::Table(e) => e.into(),
        })
        .context("cannot read the partition table")?;
    table.fits(disk.size())?;
    Ok(table)
}
