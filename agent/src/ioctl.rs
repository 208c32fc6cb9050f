//! The calls to the kernel that no crate wraps.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

mod raw {
    // BLKRRPART: include/uapi/linux/fs.h, _IO(0x12, 95)
    nix::ioctl_none!(blkrrpart, 0x12, 95);
    // IOCTL_MBOX_PROPERTY: drivers/char/broadcom/vcio.c, _IOWR(100, 0, char *)
    nix::ioctl_readwrite!(mailbox, 100, 0, *mut u8);
    // IOCTL_MBOX_PROPERTY: drivers/char/broadcom/vcio.c of Raspberry Pi's kernel, _IOWR(100, 0, char *)
    nix::ioctl_readwrite_bad!(
        mbox_property,
        nix::request_code_readwrite!(100, 0, size_of::<*mut u8>()),
        [u32; 7]
    );
}

/// A question to the firmware: length, code, one tag (id, room, length, value), end.
/// github.com/raspberrypi/firmware/wiki/Mailbox-property-interface
const GET_THROTTLED: u32 = 0x0003_0046;
/// The code of an answer that was understood.
const ANSWERED: u32 = 0x8000_0000;

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

/// Asks the firmware of a Raspberry Pi, through `/dev/vcio`, what it holds down. The value 0 asks it to forget nothing.
#[expect(unsafe_code, reason = "an ioctl on a descriptor and a buffer we own")]
pub fn throttled(mailbox: &File) -> io::Result<u32> {
    // Aligned to 16 bytes as the firmware wants it; the kernel copies it anyway.
    #[repr(align(16))]
    struct Question([u32; 7]);
    let mut question = Question([28, 0, GET_THROTTLED, 4, 0, 0, 0]);
    // SAFETY: the descriptor is open for the whole call; vcio_device_ioctl copies as many bytes as the first word says, in and out,
    // and that is the size of the buffer.
    unsafe { raw::mailbox(mailbox.as_raw_fd(), question.0.as_mut_ptr().cast()) }?;
    let [_, code, _, _, _, word, _] = question.0;
    if code == ANSWERED {
        Ok(word)
    } else {
        Err(io::Error::other(format!("the firmware answered {code:#x}")))
    }
}

/// A message to the Raspberry Pi's firmware, which is answered in its place.
#[expect(
    unsafe_code,
    reason = "an ioctl on a descriptor we own, with a message we own"
)]
pub fn mailbox_property(mailbox: &File, message: &mut [u32; 7]) -> io::Result<()> {
    // SAFETY: the driver takes the argument itself for the address of the message, whose first word is its length: it reads and
    // writes so many bytes there and no more, and all of them are ours for the whole call.
    unsafe { raw::mbox_property(mailbox.as_raw_fd(), message) }
        .map(drop)
        .map_err(io::Error::from)
}
