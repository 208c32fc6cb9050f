//! The one call to the kernel that no crate wraps.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

mod raw {
    // BLKRRPART: include/uapi/linux/fs.h, _IO(0x12, 95)
    nix::ioctl_none!(blkrrpart, 0x12, 95);
}

/// Makes the kernel read the partition table of a disk again. Fails with EBUSY while a partition is in use.
#[expect(
    unsafe_code,
    reason = "an ioctl without argument on a descriptor we own"
)]
pub fn reread_partition_table(disk: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open for the whole call, and BLKRRPART takes no argument.
    unsafe { raw::blkrrpart(disk.as_raw_fd()) }
        .map(drop)
        .map_err(io::Error::from)
}
