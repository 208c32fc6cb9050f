//! What looking at a resource gives: values, and texts that may be long.

use std::collections::BTreeMap;
use std::io::Read;

use serde_json::Value;

/// Values of a resource, by property; a value that could not be had comes with the reason.
pub(in crate::selftest) type Values = BTreeMap<&'static str, anyhow::Result<Found>>;

/// What a property is.
pub(in crate::selftest) enum Found {
    Value(Value),
    /// Text that may be long: patterns are looked for line by line, everything else needs it whole.
    Text(Box<dyn Read>),
}

/// Text that is needed whole.
const WHOLE: u64 = 16 * 1024 * 1024;

impl Found {
    /// A text that is at hand.
    pub(in crate::selftest) fn bytes(bytes: Vec<u8>) -> Self {
        Self::Text(Box::new(std::io::Cursor::new(bytes)))
    }

    /// All of it.
    pub(in crate::selftest) fn value(self) -> Result<Value, String> {
        match self {
            Self::Value(value) => Ok(value),
            Self::Text(text) => {
                let mut bytes = Vec::new();
                text.take(WHOLE + 1)
                    .read_to_end(&mut bytes)
                    .map_err(|error| format!("reading: {error}"))?;
                if bytes.len() as u64 > WHOLE {
                    return Err(format!(
                        "longer than {WHOLE} bytes: only a list of patterns can be looked for in it"
                    ));
                }
                Ok(String::from_utf8_lossy(&bytes).into_owned().into())
            }
        }
    }

    pub(super) fn is_false(&self) -> bool {
        matches!(self, Self::Value(Value::Bool(false)))
    }
}

macro_rules! found_from {
    ($($kind:ty),*) => {$(
        impl From<$kind> for Found {
            fn from(value: $kind) -> Self {
                Self::Value(value.into())
            }
        }
    )*};
}
found_from!(
    Value,
    bool,
    &str,
    String,
    i32,
    u16,
    u32,
    u64,
    usize,
    f64,
    Vec<Value>
);

impl<V: Into<Value>> FromIterator<V> for Found {
    fn from_iter<T: IntoIterator<Item = V>>(items: T) -> Self {
        Self::Value(items.into_iter().map(Into::into).collect::<Value>())
    }
}
