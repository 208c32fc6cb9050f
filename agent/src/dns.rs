//! Messages of the domain name system (RFC 1035): one question, and a reader of answers that believes nothing in them. Used by
//! self-tests, and to find neighbours by multicast DNS (RFC 6762).

use anyhow::{Context as _, Result, ensure};

/// "Recursion desired": of a server that asks others.
pub(crate) const RECURSE: u16 = 0x100;

/// RFC 1035, section 4.1: header with these flags, and one question.
pub(crate) fn question(id: u16, flags: u16, name: &str, kind: u16) -> Result<Vec<u8>> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend(flags.to_be_bytes());
    message.extend([0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len())
            .ok()
            .filter(|n| (1..=63).contains(n));
        message.push(length.with_context(|| format!("{name:?} is no name"))?);
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
    Ok(message)
}

/// Reads a message forwards.
pub(crate) struct Reader<'a> {
    message: &'a [u8],
    pub(crate) at: usize,
}

/// What an answer says before its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Whose question it is the answer to.
    pub(crate) id: u16,
    /// 0 is well, 3 no such name.
    pub(crate) code: u16,
    /// Records that answer.
    pub(crate) answers: u16,
    /// Records of all kinds.
    pub(crate) records: u32,
}

/// One record, up to its data, where the reader stands then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// Whose.
    pub(crate) name: String,
    /// Its type.
    pub(crate) kind: u16,
    /// Where its data ends.
    pub(crate) end: usize,
}

impl<'a> Reader<'a> {
    /// An answer, up to its first record.
    pub(crate) fn answer(message: &'a [u8]) -> Result<(Self, Head)> {
        let mut reader = Reader { message, at: 0 };
        let (id, flags) = (reader.u16()?, reader.u16()?);
        ensure!(flags & 0x8000 != 0, "not an answer");
        let (questions, answers) = (reader.u16()?, reader.u16()?);
        let more = u32::from(reader.u16()?) + u32::from(reader.u16()?);
        for _ in 0..questions {
            reader.name()?;
            reader.at += 4;
        }
        let head = Head {
            id,
            code: flags & 0xf,
            answers,
            records: u32::from(answers) + more,
        };
        Ok((reader, head))
    }

    /// The next record, up to its data.
    pub(crate) fn record(&mut self) -> Result<Record> {
        let name = self.name()?;
        let kind = self.u16()?;
        self.at += 6;
        let length = usize::from(self.u16()?);
        let end = self.at + length;
        Ok(Record { name, kind, end })
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let bytes = self
            .message
            .get(self.at..self.at + length)
            .context("the answer is cut")?;
        self.at += length;
        Ok(bytes)
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.take(2)?.try_into()?))
    }

    pub(crate) fn until(&mut self, end: usize) -> Result<&'a [u8]> {
        let length = end
            .checked_sub(self.at)
            .context("the answer is inconsistent")?;
        self.take(length)
    }

    /// A name, whose end may stand elsewhere (section 4.1.4). Pointers lead only backwards, so this ends.
    pub(crate) fn name(&mut self) -> Result<String> {
        let mut name = String::new();
        let (mut at, mut limit, mut after) = (self.at, self.at, None);
        loop {
            let length = usize::from(*self.message.get(at).context("the answer is cut")?);
            if length & 0xc0 == 0xc0 {
                let low = usize::from(*self.message.get(at + 1).context("the answer is cut")?);
                after.get_or_insert(at + 2);
                at = (length & 0x3f) << 8 | low;
                ensure!(at < limit, "a name in the answer refers to itself");
                limit = at;
                continue;
            }
            let label = self
                .message
                .get(at + 1..at + 1 + length)
                .context("the answer is cut")?;
            at += 1 + length;
            if length == 0 {
                self.at = after.unwrap_or(at);
                return Ok(if name.is_empty() { ".".into() } else { name });
            }
            name += &String::from_utf8_lossy(label);
            name.push('.');
            ensure!(name.len() <= 512, "a name in the answer is too long");
        }
    }
}
