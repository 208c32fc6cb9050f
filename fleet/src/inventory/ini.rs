//! Ansible's INI: `[group]`, `[group:children]`, `[group:vars]`, `host key=value`.

use anyhow::{Context as _, Result, bail, ensure};

use super::{Inventory, range};

#[derive(Clone, Copy)]
enum Part {
    Hosts,
    Children,
    Variables,
}

pub(super) fn read(text: &str, into: &mut Inventory) -> Result<()> {
    let (mut group, mut part) = ("ungrouped".to_owned(), Part::Hosts);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let at = || format!("line {}: {line:?}", index + 1);
        if let Some(head) = line.strip_prefix('[')
            && let Some(head) = head
                .split('#')
                .next()
                .unwrap_or_default()
                .trim()
                .strip_suffix(']')
            && !line.starts_with("[:")
        {
            let (name, kind) = head.split_once(':').unwrap_or((head, "hosts"));
            part = match kind {
                "hosts" => Part::Hosts,
                "children" => Part::Children,
                "vars" => Part::Variables,
                _ => {
                    return Err(anyhow::anyhow!("{kind:?} is none of children, vars"))
                        .with_context(at);
                }
            };
            name.clone_into(&mut group);
            into.group(&group);
            continue;
        }
        one(line, &group, part, into).with_context(at)?;
    }
    Ok(())
}

fn one(line: &str, group: &str, part: Part, into: &mut Inventory) -> Result<()> {
    if let Part::Variables = part {
        let (key, value) = line.split_once('=').context("a variable is key=value")?;
        let value = unquote(value.trim()).to_owned();
        into.group(group)
            .variables
            .insert(key.trim().to_owned(), value);
        return Ok(());
    }
    let mut words = words(line)?.into_iter();
    let Some(name) = words.next() else {
        return Ok(());
    };
    if let Part::Children = part {
        into.group(&name);
        into.group(group).children.push(name);
        return Ok(());
    }
    let words: Vec<String> = words.collect();
    for host in range::expand(&name)? {
        into.host(group, &host);
        for word in &words {
            let Some((key, value)) = word.split_once('=') else {
                bail!("{word:?} is no key=value");
            };
            let variables = into.variables.entry(host.clone()).or_default();
            variables.insert(key.to_owned(), value.to_owned());
        }
    }
    Ok(())
}

fn unquote(text: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|t| t.strip_suffix(quote)) {
            return inner;
        }
    }
    text
}

/// Words, as a shell would split them; `#` after a blank begins a comment.
fn words(line: &str) -> Result<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in line.chars() {
        match quote {
            Some(q) if c == q => quote = None,
            None if c == '\'' || c == '"' => quote = Some(c),
            None if c == '#' && word.is_empty() => break,
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            Some(_) | None => word.push(c),
        }
    }
    ensure!(quote.is_none(), "a quote is not closed");
    if !word.is_empty() {
        words.push(word);
    }
    Ok(words)
}
