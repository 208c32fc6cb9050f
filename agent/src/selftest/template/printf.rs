//! Go's `fmt`: verbs, widths, and how numbers are printed.

use super::Value;

/// `%g` with the shortest digits that read back the same; strconv decides about the exponent as if there were six of them,
/// so that a million is 1e+06.
pub(super) fn float_g(number: f64) -> String {
    if number.is_nan() {
        return "NaN".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    if number == 0.0 {
        return if number.is_sign_negative() { "-0" } else { "0" }.into();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        format!("{number}")
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{digits}e{sign}{:02}", exponent.abs())
    }
}

/// `%e` with `precision` digits.
fn float_e(number: f64, precision: usize) -> String {
    let text = format!("{number:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// `%q`
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out += "\\\"",
            '\\' => out += "\\\\",
            '\n' => out += "\\n",
            '\t' => out += "\\t",
            '\r' => out += "\\r",
            c if u32::from(c) < 32 || c == '\u{7f}' => {
                out.extend(format!("\\x{:02x}", u32::from(c)).chars());
            }
            c => out.push(c),
        }
    }
    out + "\""
}

#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the flags of fmt, which stand for themselves"
)]
struct Spec {
    minus: bool,
    plus: bool,
    zero: bool,
    space: bool,
    sharp: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Widths beyond this are nobody's intention.
const WIDEST: usize = 10_000;

/// `fmt.Sprintf`
pub(super) fn printf(format: &str, args: &[Value]) -> String {
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    let mut next = args.iter();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(flag) = chars.next_if(|c| "-+0 #".contains(*c)) {
            match flag {
                '-' => spec.minus = true,
                '+' => spec.plus = true,
                '0' => spec.zero = true,
                ' ' => spec.space = true,
                _ => spec.sharp = true,
            }
        }
        spec.width = digits(&mut chars);
        if chars.next_if_eq(&'.').is_some() {
            spec.precision = Some(digits(&mut chars).unwrap_or(0));
        }
        match chars.next() {
            None => out += "%!(NOVERB)",
            Some('%') => out.push('%'),
            Some(verb) => match next.next() {
                None => out.extend(["%!", verb.encode_utf8(&mut [0; 4]), "(MISSING)"]),
                Some(value) => out += &pad(&one(verb, value, &spec), &spec, value),
            },
        }
    }
    let rest: Vec<String> = next.map(|v| format!("{}={}", v.kind(), v.text())).collect();
    if !rest.is_empty() {
        out.extend(["%!(EXTRA ", &rest.join(", "), ")"]);
    }
    out
}

fn digits(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<usize> {
    let mut value = None;
    while let Some(digit) = chars.next_if(char::is_ascii_digit) {
        let digit = digit.to_digit(10).unwrap_or(0) as usize;
        value = Some((value.unwrap_or(0) * 10 + digit).min(WIDEST));
    }
    value
}

fn one(verb: char, value: &Value, spec: &Spec) -> String {
    let bad = || format!("%!{verb}({}={})", value.kind(), value.text());
    let plus = |text: String, positive: bool| match (positive, spec.plus, spec.space) {
        (true, true, _) => format!("+{text}"),
        (true, false, true) => format!(" {text}"),
        _ => text,
    };
    match (verb, value) {
        ('T', value) => value.kind().into(),
        (_, Value::Nil) if verb != 'v' => format!("%!{verb}(<nil>)"),
        ('v', Value::Str(text)) if spec.sharp => quoted(text),
        ('v' | 's', Value::Str(text)) => match spec.precision {
            Some(precision) => text.chars().take(precision).collect(),
            None => text.to_string(),
        },
        ('d' | 'v', Value::Int(n)) => plus(n.to_string(), *n >= 0),
        ('b', Value::Int(n)) => signed(*n, |n| format!("{n:b}")),
        ('o', Value::Int(n)) => signed(*n, |n| {
            format!("{}{n:o}", if spec.sharp { "0" } else { "" })
        }),
        ('x', Value::Int(n)) => signed(*n, |n| {
            format!("{}{n:x}", if spec.sharp { "0x" } else { "" })
        }),
        ('X', Value::Int(n)) => signed(*n, |n| {
            format!("{}{n:X}", if spec.sharp { "0X" } else { "" })
        }),
        ('c', Value::Int(n)) => u32::try_from(*n)
            .ok()
            .and_then(char::from_u32)
            .unwrap_or('\u{fffd}')
            .to_string(),
        ('q', Value::Int(n)) => format!(
            "'{}'",
            u32::try_from(*n)
                .ok()
                .and_then(char::from_u32)
                .unwrap_or('\u{fffd}')
        ),
        ('x', Value::Str(text)) => hex::encode(text.as_bytes()),
        ('X', Value::Str(text)) => hex::encode_upper(text.as_bytes()),
        ('q', Value::Str(text)) => quoted(text),
        ('f' | 'F', Value::Float(n)) => {
            plus(format!("{n:.*}", spec.precision.unwrap_or(6)), *n >= 0.0)
        }
        ('e', Value::Float(n)) => plus(float_e(*n, spec.precision.unwrap_or(6)), *n >= 0.0),
        ('g' | 'v', Value::Float(n)) => plus(
            spec.precision
                .map_or_else(|| float_g(*n), |p| float_p(*n, p)),
            *n >= 0.0,
        ),
        ('t' | 'v', Value::Bool(flag)) => flag.to_string(),
        ('v', other) => other.text(),
        (_, Value::List(list)) => {
            let items: Vec<String> = list.iter().map(|item| one(verb, item, spec)).collect();
            format!("[{}]", items.join(" "))
        }
        (_, Value::Map(map)) => {
            let text = |value: &Value| one(verb, value, spec);
            let items: Vec<String> = map
                .iter()
                .map(|(k, v)| format!("{}:{}", text(&k.as_str().into()), text(v)))
                .collect();
            format!("map[{}]", items.join(" "))
        }
        _ => bad(),
    }
}

/// `%g` with that many digits, without zeros at the end.
fn float_p(number: f64, precision: usize) -> String {
    let precision = precision.max(1);
    let scientific = format!("{number:.*e}", precision - 1);
    let exponent: i32 = scientific
        .split_once('e')
        .and_then(|(_, e)| e.parse().ok())
        .unwrap_or(0);
    let limit = i32::try_from(precision).unwrap_or(i32::MAX);
    if (-4..limit).contains(&exponent) {
        let decimals = usize::try_from(limit - 1 - exponent).unwrap_or(0);
        let text = format!("{number:.decimals$}");
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').into()
        } else {
            text
        }
    } else {
        float_e(number, precision - 1)
    }
}

fn signed(number: i64, digits: impl Fn(u64) -> String) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{}", digits(number.unsigned_abs()))
}

fn pad(text: &str, spec: &Spec, value: &Value) -> String {
    let Some(width) = spec.width else {
        return text.into();
    };
    let lacking = width.saturating_sub(text.chars().count());
    if spec.minus {
        return format!("{text}{}", " ".repeat(lacking));
    }
    if spec.zero && matches!(value, Value::Int(_) | Value::Float(_)) {
        let (sign, digits) = match text.strip_prefix(['+', '-']) {
            Some(digits) => text.split_at(text.len() - digits.len()),
            None => ("", text),
        };
        return format!("{sign}{}{digits}", "0".repeat(lacking));
    }
    format!("{}{text}", " ".repeat(lacking))
}
