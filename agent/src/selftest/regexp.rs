//! Regular expressions as Go reads them (RE2's syntax), on an engine that reads them a little differently.
//!
//! `regex-lite` takes time linear in the text, like RE2, and is small; its syntax is stricter. What an owner writes for goss
//! is read here by Go's rules (regexp/syntax) and written down again in a form that has one reading only. Letters beyond
//! ASCII in `\p{…}` come from the standard library: combining marks count as letters there.

mod class;

use std::iter::Peekable;
use std::str::Chars;

use regex_lite::Regex;

use class::{Class, perl, perl_inside, point};

/// Go's limit for `{n,m}`.
const REPEAT: u32 = 1000;

/// Compiles `pattern`.
pub(super) fn compile(pattern: &str) -> Result<Regex, String> {
    let read = Reader {
        rest: pattern.chars().peekable(),
        out: String::new(),
        fold: vec![false],
        repeatable: Last::Nothing,
    };
    let text = read
        .all()
        .map_err(|why| format!("error parsing regexp: {why}: `{pattern}`"))?;
    Regex::new(&text).map_err(|error| format!("error parsing regexp: {error}: `{pattern}`"))
}

/// What stands before here: whether `*` may follow.
#[derive(Clone, Copy, PartialEq)]
enum Last {
    Nothing,
    Item,
    Repeat,
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
    /// Whether case is ignored, one for each open group.
    fold: Vec<bool>,
    repeatable: Last,
}

impl Reader<'_> {
    fn all(mut self) -> Result<String, String> {
        while let Some(c) = self.rest.next() {
            match c {
                '\\' => self.escape()?,
                '[' => {
                    let class = self.class()?;
                    self.item(&class);
                }
                '(' => self.open()?,
                ')' => {
                    if self.fold.len() == 1 {
                        return Err("unexpected )".into());
                    }
                    self.fold.pop();
                    self.item(")");
                }
                '|' => {
                    self.out.push('|');
                    self.repeatable = Last::Nothing;
                }
                '*' | '+' | '?' => self.repeat(&c.to_string())?,
                '{' => match self.counts()? {
                    Some(counts) => self.repeat(&counts)?,
                    None => self.literal('{'),
                },
                '.' | '^' | '$' => self.item(&c.to_string()),
                c => self.literal(c),
            }
        }
        if self.fold.len() > 1 {
            return Err("missing closing )".into());
        }
        Ok(self.out)
    }

    fn item(&mut self, text: &str) {
        self.out += text;
        self.repeatable = Last::Item;
    }

    fn folds(&self) -> bool {
        self.fold.last().copied().unwrap_or(false)
    }

    fn literal(&mut self, c: char) {
        let mut class = Class::default();
        class.add(c, c, self.folds() && !c.is_ascii());
        let text = match class.ranges.as_slice() {
            [_] => point(c),
            _ => class.text(false),
        };
        self.item(&text);
    }

    fn repeat(&mut self, sign: &str) -> Result<(), String> {
        match self.repeatable {
            Last::Nothing => {
                return Err(format!("missing argument to repetition operator: `{sign}`"));
            }
            Last::Repeat => return Err(format!("invalid nested repetition operator: `{sign}`")),
            Last::Item => {}
        }
        self.out += sign;
        if self.rest.next_if_eq(&'?').is_some() {
            self.out.push('?');
        }
        self.repeatable = Last::Repeat;
        Ok(())
    }

    /// `{2}`, `{2,}`, `{2,3}`; anything else after a brace is just a brace.
    fn counts(&mut self) -> Result<Option<String>, String> {
        let mut ahead = self.rest.clone();
        let mut text = String::new();
        loop {
            match ahead.next() {
                Some('}') => break,
                Some(c) if c.is_ascii_digit() || c == ',' => text.push(c),
                _ => return Ok(None),
            }
        }
        let (low, high) = text
            .split_once(',')
            .map_or((text.as_str(), None), |(low, high)| (low, Some(high)));
        let padded = |n: &str| n.len() > 1 && n.starts_with('0');
        let bad = |n: &str| n.contains(',') || padded(n);
        if low.is_empty() || bad(low) || high.is_some_and(bad) {
            return Ok(None);
        }
        let number = |n: &str| n.parse::<u32>().ok().filter(|n| *n <= REPEAT);
        let wrong = || format!("invalid repeat count: `{{{text}}}`");
        let least = number(low).ok_or_else(wrong)?;
        if let Some(high) = high.filter(|high| !high.is_empty()) {
            let most = number(high).ok_or_else(wrong)?;
            if most < least {
                return Err(wrong());
            }
        }
        self.rest = ahead;
        Ok(Some(format!("{{{text}}}")))
    }

    fn open(&mut self) -> Result<(), String> {
        self.repeatable = Last::Nothing;
        if self.rest.next_if_eq(&'?').is_none() {
            self.out.push('(');
            self.fold.push(self.folds());
            return Ok(());
        }
        let mut head = String::new();
        let named = self.rest.next_if_eq(&'P').is_some();
        if named || self.rest.peek() == Some(&'<') {
            if self.rest.next() != Some('<') {
                return Err("invalid or unsupported Perl syntax: `(?P`".into());
            }
            for c in self.rest.by_ref() {
                if c == '>' {
                    let good = !head.is_empty()
                        && head.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
                    if !good {
                        return Err(format!("invalid named capture: `(?P<{head}>`"));
                    }
                    for part in ["(?P<", &head, ">"] {
                        self.out += part;
                    }
                    self.fold.push(self.folds());
                    return Ok(());
                }
                head.push(c);
            }
            return Err("invalid named capture".into());
        }
        let mut fold = self.folds();
        let mut on = true;
        for c in self.rest.by_ref() {
            match c {
                'i' => fold = on,
                'm' | 's' | 'U' => {}
                '-' if on => on = false,
                ':' | ')' => {
                    self.out += "(?";
                    self.out += &head;
                    self.out.push(c);
                    if c == ':' {
                        self.fold.push(fold);
                    } else if let Some(last) = self.fold.last_mut() {
                        *last = fold;
                    }
                    return if head.ends_with('-') {
                        Err("missing argument to flags".into())
                    } else {
                        Ok(())
                    };
                }
                _ => return Err(format!("invalid or unsupported Perl syntax: `(?{head}{c}`")),
            }
            head.push(c);
        }
        Err("missing closing )".into())
    }

    fn escape(&mut self) -> Result<(), String> {
        match self.rest.peek() {
            None => return Err("trailing backslash at end of expression".into()),
            Some('Q') => {
                self.rest.next();
                while let Some(c) = self.rest.next() {
                    if c == '\\' && self.rest.next_if_eq(&'E').is_some() {
                        return Ok(());
                    }
                    self.literal(c);
                }
            }
            // An end without a beginning is nothing to Go.
            Some('E') => return Err("invalid escape sequence: `\\E`".into()),
            Some(c @ ('A' | 'b' | 'B' | 'z')) => {
                let text = format!("\\{c}");
                self.rest.next();
                self.item(&text);
            }
            Some(c @ ('d' | 'D' | 's' | 'S' | 'w' | 'W')) => {
                let text = perl(*c);
                self.rest.next();
                self.item(text);
            }
            Some('p' | 'P') => {
                let mut class = Class::default();
                class.property(&mut self.rest)?;
                let text = class.text(false);
                self.item(&text);
            }
            Some(_) => {
                let c = self.character()?;
                self.literal(c);
            }
        }
        Ok(())
    }

    /// One character after a backslash.
    fn character(&mut self) -> Result<char, String> {
        let c = self
            .rest
            .next()
            .ok_or("trailing backslash at end of expression")?;
        let octal = |c: &char| c.is_digit(8);
        Ok(match c {
            'a' => '\u{7}',
            'f' => '\u{c}',
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'v' => '\u{b}',
            // One digit alone would be a reference to a group, which this kind of engine does not have.
            '1'..='7' if !self.rest.peek().is_some_and(octal) => {
                return Err(format!("invalid escape sequence: `\\{c}`"));
            }
            '0'..='7' => {
                let mut code = c.to_digit(8).unwrap_or(0);
                for _ in 0..2 {
                    let Some(digit) = self.rest.next_if(octal) else {
                        break;
                    };
                    code = code * 8 + digit.to_digit(8).unwrap_or(0);
                }
                char::from_u32(code).ok_or("invalid escape sequence")?
            }
            'x' => {
                let mut digits = String::new();
                if self.rest.next_if_eq(&'{').is_some() {
                    loop {
                        match self.rest.next() {
                            Some('}') => break,
                            Some(c) if c.is_ascii_hexdigit() && digits.len() < 8 => digits.push(c),
                            _ => return Err("invalid escape sequence: `\\x{`".into()),
                        }
                    }
                } else {
                    for _ in 0..2 {
                        digits.extend(self.rest.next_if(char::is_ascii_hexdigit));
                    }
                    if digits.len() != 2 {
                        return Err("invalid escape sequence: `\\x`".into());
                    }
                }
                let code = u32::from_str_radix(&digits, 16)
                    .ok()
                    .and_then(char::from_u32);
                code.ok_or("invalid escape sequence: `\\x`")?
            }
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => c,
            c => return Err(format!("invalid escape sequence: `\\{c}`")),
        })
    }

    fn class(&mut self) -> Result<String, String> {
        const UNCLOSED: &str = "missing closing ]";
        let negated = self.rest.next_if_eq(&'^').is_some();
        let fold = self.folds();
        let mut class = Class::default();
        let mut first = true;
        loop {
            let c = *self.rest.peek().ok_or(UNCLOSED)?;
            if c == ']' && !first {
                self.rest.next();
                return Ok(class.text(negated));
            }
            first = false;
            if c == '[' {
                let mut ahead = self.rest.clone();
                ahead.next();
                if ahead.next_if_eq(&':').is_some() {
                    let name: String = ahead.by_ref().take_while(|c| *c != ':').collect();
                    if ahead.next() == Some(']') {
                        class.posix(&name)?;
                        self.rest = ahead;
                        continue;
                    }
                }
            }
            if c == '\\' {
                let mut ahead = self.rest.clone();
                ahead.next();
                match ahead.peek() {
                    Some(c @ ('d' | 'D' | 's' | 'S' | 'w' | 'W')) => {
                        class.raw += perl_inside(*c);
                        ahead.next();
                        self.rest = ahead;
                        continue;
                    }
                    Some('p' | 'P') => {
                        class.property(&mut ahead)?;
                        self.rest = ahead;
                        continue;
                    }
                    _ => {}
                }
            }
            let low = self.member()?;
            let mut ahead = self.rest.clone();
            let ranged = ahead.next() == Some('-') && ahead.peek().is_some_and(|c| *c != ']');
            if !ranged {
                class.add(low, low, fold);
                continue;
            }
            self.rest = ahead;
            let high = self.member()?;
            if high < low {
                return Err(format!("invalid character class range: `{low}-{high}`"));
            }
            class.add(low, high, fold);
        }
    }

    fn member(&mut self) -> Result<char, String> {
        match self.rest.next().ok_or("missing closing ]")? {
            '\\' => self.character(),
            c => Ok(c),
        }
    }
}
