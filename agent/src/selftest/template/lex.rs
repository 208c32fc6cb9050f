//! Text and actions, and the words of actions.

use super::{Error, Value};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Blank,
    Word(String),
    Field(String),
    Variable(String),
    Literal(Value),
    Sign(&'static str),
}

/// Line and column of a byte.
pub(super) fn place(source: &str, at: usize) -> (usize, usize) {
    let before = source.get(..at).unwrap_or(source);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    (line, column)
}

pub(super) fn error(source: &str, at: usize, what: impl Into<String>) -> Error {
    let (line, column) = place(source, at);
    Error {
        line,
        column,
        what: what.into(),
    }
}

/// A piece of the file before it has a structure.
pub(super) enum Piece {
    Text(String),
    Action(usize, Vec<(usize, Token)>),
}

/// Cuts the source at its actions, and the white space that `{{-` and `-}}` take away.
pub(super) fn split(source: &str) -> Result<Vec<Piece>, Error> {
    const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];
    let mut pieces = Vec::new();
    let (mut at, mut trim) = (0, false);
    while let Some(found) = source[at..].find("{{") {
        let open = at + found;
        let mut text = &source[at..open];
        if trim {
            text = text.trim_start_matches(BLANKS);
        }
        let mut inner = open + 2;
        let bytes = source.as_bytes();
        if bytes.get(inner) == Some(&b'-')
            && bytes.get(inner + 1).is_some_and(u8::is_ascii_whitespace)
        {
            text = text.trim_end_matches(BLANKS);
            inner += 1;
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        let body = source[inner..].trim_start_matches(BLANKS);
        if body.starts_with("/*") {
            let start = source.len() - body.len();
            let close = source[start..]
                .find("*/")
                .ok_or_else(|| error(source, open, "unclosed comment"))?;
            let rest = &source[start + close + 2..];
            let closing = rest.trim_start_matches(BLANKS);
            trim = closing.starts_with("-}}") && closing.len() < rest.len();
            let skip = if trim { 3 } else { 2 };
            if !trim && !rest.starts_with("}}") {
                return Err(error(
                    source,
                    open,
                    "a comment ends before the closing braces",
                ));
            }
            at = source.len() - if trim { closing.len() } else { rest.len() } + skip;
            continue;
        }
        let (tokens, end, trims) = tokens(source, inner)?;
        pieces.push(Piece::Action(open, tokens));
        (at, trim) = (end, trims);
    }
    let text = if trim {
        source[at..].trim_start_matches(BLANKS)
    } else {
        &source[at..]
    };
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
    Ok(pieces)
}

type Tokens = (Vec<(usize, Token)>, usize, bool);

/// The tokens of one action from `at`, where it ends, and whether it takes the blanks after it.
fn tokens(source: &str, mut at: usize) -> Result<Tokens, Error> {
    const SIGNS: [&str; 7] = [":=", "=", "|", "(", ")", ",", "."];
    let open = at;
    let mut found = Vec::new();
    loop {
        let rest = &source[at..];
        let Some(c) = rest.chars().next() else {
            return Err(error(source, open, "unclosed action"));
        };
        if rest.starts_with("}}") {
            return Ok((found, at + 2, false));
        }
        if c.is_ascii_whitespace() {
            let blank = rest.len() - rest.trim_start().len();
            if rest[blank..].starts_with("-}}") {
                return Ok((found, at + blank + 3, true));
            }
            found.push((at, Token::Blank));
            at += blank;
            continue;
        }
        let name = |text: &str| {
            text.find(|c: char| !(c.is_alphanumeric() || c == '_'))
                .unwrap_or(text.len())
        };
        let (token, length) = match c {
            '"' | '\'' => {
                quoted(rest).ok_or_else(|| error(source, at, "unterminated quoted string"))?
            }
            '`' => {
                let end = rest[1..]
                    .find('`')
                    .ok_or_else(|| error(source, at, "unterminated raw quoted string"))?;
                (Token::Literal(rest[1..=end].into()), end + 2)
            }
            '$' => {
                let length = 1 + name(&rest[1..]);
                (Token::Variable(rest[..length].to_owned()), length)
            }
            '.' if rest[1..].starts_with(|c: char| c.is_alphabetic() || c == '_') => {
                let length = 1 + name(&rest[1..]);
                (Token::Field(rest[1..length].to_owned()), length)
            }
            c if c.is_ascii_digit()
                || (matches!(c, '+' | '-' | '.')
                    && rest[1..].starts_with(|c: char| c.is_ascii_digit() || c == '.')) =>
            {
                let length = rest[1..]
                    .char_indices()
                    .find(|(i, c)| {
                        let exponent =
                            matches!(rest.as_bytes()[*i], b'e' | b'E') && matches!(c, '+' | '-');
                        !(c.is_alphanumeric() || matches!(c, '.' | '_') || exponent)
                    })
                    .map_or(rest.len(), |(i, _)| i + 1);
                let value = number(&rest[..length]).ok_or_else(|| {
                    error(
                        source,
                        at,
                        format!("bad number syntax: {:?}", &rest[..length]),
                    )
                })?;
                (Token::Literal(value), length)
            }
            c if c.is_alphabetic() || c == '_' => {
                let length = name(rest);
                let token = match &rest[..length] {
                    "true" => Token::Literal(true.into()),
                    "false" => Token::Literal(false.into()),
                    word => Token::Word(word.to_owned()),
                };
                (token, length)
            }
            _ => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                Some(sign) => (Token::Sign(sign), sign.len()),
                None => return Err(error(source, at, format!("unexpected {c:?} in action"))),
            },
        };
        found.push((at, token));
        at += length;
    }
}

fn quoted(text: &str) -> Option<(Token, usize)> {
    let quote = text.chars().next()?;
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == quote {
            let length = at + 1;
            // A rune is a number to Go.
            let token = if quote == '\'' {
                let mut runes = value.chars();
                let rune = runes.next().filter(|_| runes.next().is_none())?;
                Value::Int(i64::from(u32::from(rune)))
            } else {
                value.into()
            };
            return Some((Token::Literal(token), length));
        }
        if c == '\n' {
            return None;
        }
        if c != '\\' {
            value.push(c);
            continue;
        }
        let (_, c) = chars.next()?;
        let mut code = |digits: usize, radix: u32, first: u32| {
            let mut code = first;
            for _ in 0..digits {
                code = code * radix + chars.next()?.1.to_digit(radix)?;
            }
            char::from_u32(code)
        };
        value.push(match c {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'v' => '\u{b}',
            'x' => code(2, 16, 0)?,
            'u' => code(4, 16, 0)?,
            'U' => code(8, 16, 0)?,
            '0'..='7' => code(2, 8, c.to_digit(8)?)?,
            '\\' | '"' | '\'' => c,
            _ => return None,
        });
    }
    None
}

fn number(text: &str) -> Option<Value> {
    let plain = text.replace('_', "");
    let (sign, digits) = match plain.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    for (prefix, radix) in [("0x", 16), ("0X", 16), ("0b", 2), ("0o", 8), ("0", 8)] {
        if let Some(rest) = digits.strip_prefix(prefix).filter(|rest| !rest.is_empty())
            && let Ok(number) = i64::from_str_radix(rest, radix)
        {
            return Some(Value::Int(sign * number));
        }
    }
    if let Ok(number) = digits.parse::<i64>() {
        return Some(Value::Int(sign * number));
    }
    plain
        .parse::<f64>()
        .ok()
        .filter(|n| n.is_finite())
        .map(Value::Float)
}

/// Without the blanks at both ends.
pub(super) fn trimmed(mut tokens: Vec<(usize, Token)>) -> Vec<(usize, Token)> {
    while tokens.last().is_some_and(|t| t.1 == Token::Blank) {
        tokens.pop();
    }
    let blanks = tokens.iter().take_while(|t| t.1 == Token::Blank).count();
    tokens.drain(..blanks);
    tokens
}
