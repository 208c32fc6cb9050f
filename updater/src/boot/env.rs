//! U-Boot's binary environment format: a CRC-32 (little endian here: all our boards are) over the data area, then
//! `name=value` strings, each closed by NUL, the list closed by one more NUL
//! (U-Boot `include/env_internal.h`, `struct environment_s` without `CONFIG_SYS_REDUNDAND_ENVIRONMENT`; `env/common.c`).

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use crate::layout::BOOT_STATE_SIZE;

/// The CRC that zlib and U-Boot (`lib/crc32.c`) use.
const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// Why a block is not an environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// The block is not [`BOOT_STATE_SIZE`] bytes long.
    #[error("a boot state copy is {BOOT_STATE_SIZE} bytes, this is {0}")]
    Size(usize),
    /// Torn, stale from another use of the card, or never written.
    #[error("the checksum does not match the content: torn write or never written")]
    Checksum,
    /// The checksum is right but what it covers is no list of `name=value`.
    #[error("the content is not a list of name=value strings")]
    Malformed,
    /// Names and values do not fit the block.
    #[error("the variables need {0} bytes and do not fit")]
    TooLong(usize),
}

/// Reads a block that U-Boot's `env export -c` or [`encode`] wrote.
pub fn parse(block: &[u8]) -> Result<BTreeMap<String, String>, EnvError> {
    if block.len() != BOOT_STATE_SIZE {
        return Err(EnvError::Size(block.len()));
    }
    let (head, data) = block.split_at(4);
    if head != CRC.checksum(data).to_le_bytes() {
        return Err(EnvError::Checksum);
    }
    let mut variables = BTreeMap::new();
    for entry in data
        .split(|b| *b == 0)
        .take_while(|entry| !entry.is_empty())
    {
        let text = core::str::from_utf8(entry)
            .ok()
            .ok_or(EnvError::Malformed)?;
        let (name, value) = text.split_once('=').ok_or(EnvError::Malformed)?;
        if variables.insert(name.into(), value.into()).is_some() {
            return Err(EnvError::Malformed);
        }
    }
    Ok(variables)
}

/// Writes a block that U-Boot's `env import -c` and [`parse`] read.
pub fn encode(variables: &[(&str, String)]) -> Result<Vec<u8>, EnvError> {
    let mut block = vec![0; 4];
    for (name, value) in variables {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(EnvError::Malformed);
        }
        block.extend_from_slice(name.as_bytes());
        block.push(b'=');
        block.extend_from_slice(value.as_bytes());
        block.push(0);
    }
    if block.len() + 1 > BOOT_STATE_SIZE {
        return Err(EnvError::TooLong(block.len() + 1));
    }
    block.resize(BOOT_STATE_SIZE, 0);
    let sum = CRC.checksum(&block[4..]);
    block[..4].copy_from_slice(&sum.to_le_bytes());
    Ok(block)
}
