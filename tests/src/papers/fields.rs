//! What the types of our file formats say about themselves: each field with its meaning, taken from the comments of the source.
//!
//! A type is looked for in all sources of its crate, so it may move.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use syn::{Attribute, Fields, GenericArgument, Item, PathArguments, Type};

use super::pages::{self, Page};

/// The sources of a crate that are parsed only if they name what is looked for.
#[derive(Debug)]
pub struct Sources {
    files: Vec<Page>,
}

/// One line of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    name: String,
    kind: String,
    words: String,
}

impl Sources {
    /// The sources of a crate.
    pub fn of(root: &Path, name: &str) -> Result<Self> {
        let mut files = pages::files(root, &[".rs"])?;
        files.retain(|f| f.path.starts_with(&format!("{name}/src/")));
        ensure!(!files.is_empty(), "no crate {name}");
        Ok(Self { files })
    }

    /// The only struct or enum of this name.
    fn find(&self, name: &str) -> Result<Option<Item>> {
        let begins = [format!("struct {name}"), format!("enum {name}")];
        let mut found = Vec::new();
        for file in &self.files {
            if !begins.iter().any(|b| file.text.contains(b)) {
                continue;
            }
            let parsed = syn::parse_file(&file.text).with_context(|| file.path.clone())?;
            found.extend(parsed.items.into_iter().filter(|item| match item {
                Item::Struct(s) => s.ident == name,
                Item::Enum(e) => e.ident == name,
                _ => false,
            }));
        }
        ensure!(found.len() < 2, "{name} is defined more than once");
        Ok(found.pop())
    }

    /// A table of the fields of a struct, or of the words of an enum; each needs a comment.
    pub fn table(&self, name: &str) -> Result<String> {
        let rows = match self.find(name)? {
            Some(Item::Struct(s)) => self.fields(name, &s)?,
            Some(Item::Enum(e)) => words(&e)?,
            _ => bail!("no struct or enum {name}"),
        };
        let mut text = if rows.iter().all(|r| r.kind.is_empty()) {
            "| word | meaning |\n|---|---|\n".to_owned()
        } else {
            "| key | value | meaning |\n|---|---|---|\n".to_owned()
        };
        for Row { name, kind, words } in rows {
            ensure!(!words.is_empty(), "`{name}` has no comment in the source");
            let words = words.replace('|', "\\|");
            if kind.is_empty() {
                writeln!(text, "| `{name}` | {words} |")?;
            } else {
                writeln!(text, "| `{name}` | {kind} | {words} |")?;
            }
        }
        Ok(text)
    }

    fn fields(&self, name: &str, s: &syn::ItemStruct) -> Result<Vec<Row>> {
        let case = serde_word(&s.attrs, "rename_all");
        let Fields::Named(fields) = &s.fields else {
            bail!("{name} has no named fields");
        };
        let mut rows = Vec::new();
        // What serde skips stands in no file.
        for field in fields.named.iter().filter(|f| !is_skipped(&f.attrs)) {
            let ident = field.ident.as_ref().context("a named field")?.to_string();
            let name = serde_word(&field.attrs, "rename")
                .unwrap_or_else(|| cased(&ident, case.as_deref()));
            rows.push(Row {
                name,
                kind: self.kind(&field.ty)?,
                words: comment(&field.attrs),
            });
        }
        Ok(rows)
    }

    /// A type in words.
    fn kind(&self, ty: &Type) -> Result<String> {
        let Type::Path(path) = ty else {
            return Ok("value".to_owned());
        };
        let last = path.path.segments.last().context("an empty path")?;
        let inner: Vec<&Type> = match &last.arguments {
            PathArguments::AngleBracketed(args) => args
                .args
                .iter()
                .filter_map(|a| match a {
                    GenericArgument::Type(t) => Some(t),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        };
        let name = last.ident.to_string();
        Ok(match (name.as_str(), inner.as_slice()) {
            ("Option" | "Box", [one]) => self.kind(one)?,
            ("Vec" | "BTreeSet", [one]) => format!("list: {}", self.kind(one)?),
            ("BTreeMap", [_, one]) => format!("table: {}", self.kind(one)?),
            ("String" | "PathBuf", _) => "text".to_owned(),
            ("bool", _) => "`true`, `false`".to_owned(),
            ("u8" | "u16" | "u32" | "u64" | "usize" | "i32" | "i64", _) => "number".to_owned(),
            ("Version", _) => "version (`1.2.3`)".to_owned(),
            ("Timestamp", _) => "time (`2026-01-31T23:59:59Z`)".to_owned(),
            ("SocketAddr", _) => "address and port".to_owned(),
            (name, _) => match self.find(name)? {
                Some(Item::Enum(e)) if e.variants.iter().all(|v| v.fields.is_empty()) => {
                    let words: Vec<String> = variants(&e).map(|w| format!("`{w}`")).collect();
                    words.join(", ")
                }
                Some(Item::Struct(_)) => "table".to_owned(),
                _ => "value".to_owned(),
            },
        })
    }
}

fn variants(e: &syn::ItemEnum) -> impl Iterator<Item = String> {
    let case = serde_word(&e.attrs, "rename_all");
    e.variants.iter().map(move |v| {
        serde_word(&v.attrs, "rename").unwrap_or_else(|| {
            let case = case.as_deref();
            cased(&snake(&v.ident.to_string()), case.or(Some("PascalCase")))
        })
    })
}

fn words(e: &syn::ItemEnum) -> Result<Vec<Row>> {
    ensure!(!e.variants.is_empty(), "{} has no words", e.ident);
    let rows = variants(e).zip(&e.variants).map(|(name, v)| Row {
        name,
        kind: String::new(),
        words: comment(&v.attrs),
    });
    Ok(rows.collect())
}

/// `#[serde(skip)]`.
fn is_skipped(attrs: &[Attribute]) -> bool {
    let lists = attrs.iter().filter_map(|a| a.meta.require_list().ok());
    let mut serde = lists.filter(|list| list.path.is_ident("serde"));
    serde.any(|list| list.tokens.to_string() == "skip")
}

/// The lines of a `///` comment, as one.
fn comment(attrs: &[Attribute]) -> String {
    let lines = attrs.iter().filter_map(|a| {
        let syn::Meta::NameValue(doc) = &a.meta else {
            return None;
        };
        let syn::Expr::Lit(value) = &doc.value else {
            return None;
        };
        match &value.lit {
            syn::Lit::Str(text) if doc.path.is_ident("doc") => Some(text.value().trim().to_owned()),
            _ => None,
        }
    });
    let text = lines.collect::<Vec<_>>().join(" ").trim().to_owned();
    // What links to a type in the documentation of the crate leads nowhere here.
    text.replace("[`", "`").replace("`]", "`")
}

/// `#[serde(word = "value")]`.
fn serde_word(attrs: &[Attribute], word: &str) -> Option<String> {
    let mut found = None;
    for attr in attrs.iter().filter(|a| a.path().is_ident("serde")) {
        // Whatever else stands there is none of our business, and ends the reading of this one attribute.
        drop(attr.parse_nested_meta(|meta| {
            if let Ok(value) = meta.value() {
                let value: syn::Lit = value.parse()?;
                if let (true, syn::Lit::Str(text)) = (meta.path.is_ident(word), value) {
                    found = Some(text.value());
                }
            }
            Ok(())
        }));
    }
    found
}

/// `SomeWord` as `some_word`.
fn snake(pascal: &str) -> String {
    let mut out = String::new();
    for (n, c) in pascal.char_indices() {
        if c.is_uppercase() && n > 0 {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

/// A name with `_` between its words, as serde writes it.
fn cased(snake: &str, case: Option<&str>) -> String {
    let pascal = || {
        snake
            .split('_')
            .map(|w| w[..1].to_uppercase() + &w[1..])
            .collect::<String>()
    };
    match case {
        Some("kebab-case") => snake.replace('_', "-"),
        Some("lowercase") => snake.replace('_', ""),
        Some("PascalCase") => pascal(),
        Some("camelCase") => {
            let all = pascal();
            all[..1].to_lowercase() + &all[1..]
        }
        _ => snake.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(text: &str) -> Sources {
        let file = Page {
            path: "x.rs".to_owned(),
            text: text.to_owned(),
        };
        Sources { files: vec![file] }
    }

    #[test]
    fn a_struct_becomes_a_table() {
        let all = sources(
            "#[serde(deny_unknown_fields, rename_all = \"kebab-case\")] struct A {
                /// One
                /// two.
                first_one: Option<Vec<String>>,
                /// Word.
                #[serde(rename = \"b\", default)] word: W,
            }
            #[serde(rename_all = \"lowercase\")] enum W { /// x
                YesSir, /// y
                No }",
        );
        assert_eq!(
            all.table("A").unwrap(),
            "| key | value | meaning |\n|---|---|---|\n| `first-one` | list: text | One two. |\n\
             | `b` | `yessir`, `no` | Word. |\n"
        );
        assert_eq!(
            all.table("W").unwrap(),
            "| word | meaning |\n|---|---|\n| `yessir` | x |\n| `no` | y |\n"
        );
    }

    #[test]
    fn what_has_no_comment_or_is_not_there_or_twice_is_refused() {
        assert!(sources("struct A { x: u8 }").table("A").is_err());
        assert!(sources("struct A;").table("B").is_err());
        assert!(
            sources("struct A { /// x\n x: u8 } enum A {}")
                .table("A")
                .is_err()
        );
    }
}
