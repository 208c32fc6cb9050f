//! Strict JSON in, canonical JSON out: the one byte encoding that is signed.
//!
//! serde_json's own reader keeps the last of two equal names and rounds numbers; both would let two readers of one signed
//! file see two things. This reader refuses both, bounds the depth, and says which danger it met.

use alloc::string::String;
use alloc::vec::Vec;

use serde_json::{Map, Number, Value};

use crate::error::Error;

/// Deepest nesting that is read. TUF metadata needs 6; `custom` may add some.
pub const MAX_DEPTH: usize = 32;

/// Reads one JSON text; `file` names it in errors.
pub fn parse(file: &str, bytes: &[u8]) -> Result<Value, Error> {
    let text = core::str::from_utf8(bytes).map_err(|e| Error::Json {
        file: file.into(),
        at: e.valid_up_to(),
        why: "not UTF-8",
    })?;
    let mut reader = Reader {
        file,
        text,
        bytes,
        at: 0,
    };
    let value = reader.value(0)?;
    reader.space();
    if reader.at < bytes.len() {
        return Err(reader.bad("something follows the end"));
    }
    Ok(value)
}

/// The canonical form of TUF 1.0 section 4.1.1 (OLPC canonical JSON): names sorted, no space, strings escape only `"` and `\`.
///
/// Values read by [`parse`] have no fractions; those written by us have none by construction (a fraction is written as
/// serde_json does, and no reader will accept it).
pub fn canonical(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(n) => out.extend_from_slice(alloc::format!("{n}").as_bytes()),
        Value::String(s) => string(s, out),
        Value::Array(list) => {
            out.push(b'[');
            for (i, item) in list.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        Value::Object(map) => {
            // Sorted here and not left to serde_json: its feature `preserve_order`, switched on by any crate of a
            // workspace, would change the order for all of them. Byte order of UTF-8 is the order of code points.
            let mut names: Vec<_> = map.iter().collect();
            names.sort_unstable_by_key(|(name, _)| *name);
            out.push(b'{');
            for (i, (name, item)) in names.into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                string(name, out);
                out.push(b':');
                write(item, out);
            }
            out.push(b'}');
        }
    }
}

fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        if byte == b'"' || byte == b'\\' {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    /// The same text, for looking at single bytes.
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn bad(&self, why: &'static str) -> Error {
        Error::Json {
            file: self.file.into(),
            at: self.at,
            why,
        }
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn word(&mut self, word: &[u8], value: Value) -> Result<Value, Error> {
        if self.bytes[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.bad("unknown word"))
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, Error> {
        if depth > MAX_DEPTH {
            return Err(Error::TooDeep {
                file: self.file.into(),
                limit: MAX_DEPTH,
            });
        }
        self.space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.text().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word(b"true", Value::Bool(true)),
            Some(b'f') => self.word(b"false", Value::Bool(false)),
            Some(b'n') => self.word(b"null", Value::Null),
            Some(_) => Err(self.bad("a value was expected")),
            None => Err(self.bad("it ends too early")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, Error> {
        let mut map = Map::new();
        self.at += 1;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(map));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.bad("a name was expected"));
            }
            let name = self.text()?;
            self.space();
            if self.peek() != Some(b':') {
                return Err(self.bad("':' was expected"));
            }
            self.at += 1;
            let value = self.value(depth + 1)?;
            if map.contains_key(&name) {
                return Err(Error::DuplicateJsonKey {
                    file: self.file.into(),
                    key: name,
                });
            }
            map.insert(name, value);
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::Object(map));
                }
                _ => return Err(self.bad("',' or '}' was expected")),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, Error> {
        let mut list = Vec::new();
        self.at += 1;
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(list));
        }
        loop {
            list.push(self.value(depth + 1)?);
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::Array(list));
                }
                _ => return Err(self.bad("',' or ']' was expected")),
            }
        }
    }

    /// Whole numbers of 64 bits: canonical JSON has no others (TUF 1.0 section 4.1.1).
    fn number(&mut self) -> Result<Value, Error> {
        let start = self.at;
        let negative = self.peek() == Some(b'-');
        if negative {
            self.at += 1;
        }
        let digits = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if matches!(self.peek(), Some(b'.' | b'e' | b'E')) {
            return Err(self.bad("only whole numbers can be signed"));
        }
        let text = &self.text[start..self.at];
        let leading_zero = self.bytes[digits..self.at].starts_with(b"0") && self.at - digits > 1;
        if leading_zero || text == "-0" {
            return Err(self.bad("a number in an unusual form"));
        }
        let number = if negative {
            text.parse::<i64>().ok().map(Number::from)
        } else {
            text.parse::<u64>().ok().map(Number::from)
        };
        number
            .map(Value::Number)
            .ok_or_else(|| self.bad("a number of more than 64 bits, or none"))
    }

    fn text(&mut self) -> Result<String, Error> {
        self.at += 1;
        let mut out = String::new();
        let mut start = self.at;
        loop {
            let end = self.at;
            match self.peek() {
                None => return Err(self.bad("a string does not end")),
                Some(b'"') => {
                    self.at += 1;
                    out.push_str(&self.text[start..end]);
                    return Ok(out);
                }
                Some(b'\\') => {
                    // Cut at ASCII bytes only, so the slices are whole characters.
                    out.push_str(&self.text[start..end]);
                    out.push(self.escape()?);
                    start = self.at;
                }
                Some(0..=0x1f) => return Err(self.bad("a control character in a string")),
                Some(_) => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<char, Error> {
        self.at += 1;
        let character = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(self.bad("an unknown escape")),
        };
        self.at += 1;
        Ok(character)
    }

    fn unicode(&mut self) -> Result<char, Error> {
        let first = self.four_digits()?;
        let code = if (0xd800..0xdc00).contains(&first) {
            if !self.bytes[self.at..].starts_with(b"\\u") {
                return Err(self.bad("half of a surrogate pair"));
            }
            self.at += 1;
            let second = self.four_digits()?;
            if !(0xdc00..0xe000).contains(&second) {
                return Err(self.bad("half of a surrogate pair"));
            }
            0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
        } else {
            first
        };
        char::from_u32(code).ok_or_else(|| self.bad("half of a surrogate pair"))
    }

    /// Reads `uXXXX` and moves behind it.
    fn four_digits(&mut self) -> Result<u32, Error> {
        let mut code = 0;
        for offset in 1..5 {
            let digit = self
                .bytes
                .get(self.at + offset)
                .and_then(|b| char::from(*b).to_digit(16))
                .ok_or_else(|| self.bad("four hexadecimal digits were expected"))?;
            code = code * 16 + digit;
        }
        self.at += 5;
        Ok(code)
    }
}

#[cfg(test)]
mod tests;
