//! What flows through a template: Go's values, as far as YAML and JSON have them.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::selftest::yaml::{Data, Node};

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::selftest) enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Rc<str>),
    List(Rc<Vec<Self>>),
    Map(Rc<BTreeMap<String, Self>>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Str(text.into())
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

impl From<Vec<Self>> for Value {
    fn from(list: Vec<Self>) -> Self {
        Self::List(list.into())
    }
}

impl From<BTreeMap<String, Self>> for Value {
    fn from(map: BTreeMap<String, Self>) -> Self {
        Self::Map(map.into())
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl Value {
    /// A node of YAML; all numbers are floats when it came as JSON, as with Go's decoder.
    pub(in crate::selftest) fn from_node(node: &Node, json: bool) -> Self {
        match &node.data {
            Data::Scalar { .. } => match node.value() {
                serde_json::Value::Null => Self::Nil,
                serde_json::Value::Bool(flag) => Self::Bool(flag),
                serde_json::Value::Number(n) => match n.as_i64().filter(|_| !json) {
                    Some(int) => Self::Int(int),
                    None => Self::Float(n.as_f64().unwrap_or(f64::NAN)),
                },
                other => other.as_str().unwrap_or_default().into(),
            },
            Data::List(list) => list
                .iter()
                .map(|item| Self::from_node(item, json))
                .collect::<Vec<_>>()
                .into(),
            Data::Map(map) => map
                .iter()
                .map(|(key, item)| (key.text.clone(), Self::from_node(item, json)))
                .collect::<BTreeMap<_, _>>()
                .into(),
        }
    }

    pub(super) fn from_json(value: &serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Nil,
            serde_json::Value::Bool(flag) => Self::Bool(*flag),
            serde_json::Value::Number(n) => Self::Float(n.as_f64().unwrap_or(f64::NAN)),
            serde_json::Value::String(text) => text.as_str().into(),
            serde_json::Value::Array(list) => {
                list.iter().map(Self::from_json).collect::<Vec<_>>().into()
            }
            serde_json::Value::Object(map) => map
                .iter()
                .map(|(k, v)| (k.clone(), Self::from_json(v)))
                .collect::<BTreeMap<_, _>>()
                .into(),
        }
    }

    pub(super) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Nil => serde_json::Value::Null,
            Self::Bool(flag) => (*flag).into(),
            Self::Int(n) => (*n).into(),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "whole and small, see the guard"
            )]
            Self::Float(n) if n.fract() == 0.0 && n.abs() < 1e15 => (*n as i64).into(),
            Self::Float(n) => (*n).into(),
            Self::Str(text) => (&**text).into(),
            Self::List(list) => list.iter().map(Self::to_json).collect(),
            Self::Map(map) => serde_json::Value::Object(
                map.iter().map(|(k, v)| (k.clone(), v.to_json())).collect(),
            ),
        }
    }

    /// Whether it counts as true: not empty, not zero (text/template, "Actions").
    pub(super) fn truth(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(flag) => *flag,
            Self::Int(n) => *n != 0,
            Self::Float(n) => *n != 0.0,
            Self::Str(text) => !text.is_empty(),
            Self::List(list) => !list.is_empty(),
            Self::Map(map) => !map.is_empty(),
        }
    }

    /// What Go calls its type.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Str(_) => "string",
            Self::List(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
        }
    }

    /// `%v`
    pub(super) fn text(&self) -> String {
        match self {
            Self::Nil => "<nil>".into(),
            Self::Bool(flag) => flag.to_string(),
            Self::Int(n) => n.to_string(),
            Self::Float(n) => super::printf::float_g(*n),
            Self::Str(text) => text.to_string(),
            Self::List(list) => {
                let items: Vec<String> = list.iter().map(Self::text).collect();
                format!("[{}]", items.join(" "))
            }
            Self::Map(map) => {
                let items: Vec<String> = map
                    .iter()
                    .map(|(k, v)| format!("{k}:{}", v.text()))
                    .collect();
                format!("map[{}]", items.join(" "))
            }
        }
    }

    /// As it appears in the output.
    pub(super) fn printed(&self) -> String {
        match self {
            Self::Nil => "<no value>".into(),
            other => other.text(),
        }
    }

    /// Sprig's `strval`: a missing value is no text at all.
    pub(super) fn strval(&self) -> String {
        match self {
            Self::Nil => String::new(),
            other => other.text(),
        }
    }

    /// A whole number, as `cast.ToInt64` makes it: what is none is 0.
    pub(super) fn int(&self) -> i64 {
        match self {
            Self::Int(n) => *n,
            #[expect(clippy::cast_possible_truncation, reason = "as Go's conversion does")]
            Self::Float(n) => *n as i64,
            Self::Bool(flag) => i64::from(*flag),
            Self::Str(text) => text.parse().unwrap_or(0),
            _ => 0,
        }
    }

    /// A number, as `cast.ToFloat64` makes it.
    pub(super) fn float(&self) -> f64 {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "as Go's conversion does")]
            Self::Int(n) => *n as f64,
            Self::Float(n) => *n,
            Self::Bool(flag) => f64::from(u8::from(*flag)),
            Self::Str(text) => text.trim().parse().unwrap_or(0.0),
            _ => 0.0,
        }
    }

    /// The items of a list.
    pub(super) fn list(&self) -> Result<Rc<Vec<Self>>, String> {
        match self {
            Self::List(list) => Ok(Rc::clone(list)),
            Self::Nil => Ok(Rc::default()),
            other => Err(format!("expected a list, not {}", other.kind())),
        }
    }

    /// The entries of a map.
    pub(super) fn map(&self) -> Result<Rc<BTreeMap<String, Self>>, String> {
        match self {
            Self::Map(map) => Ok(Rc::clone(map)),
            Self::Nil => Ok(Rc::default()),
            other => Err(format!("expected a map, not {}", other.kind())),
        }
    }
}
