//! Ranges of Ansible: `node[1:4].local`, `node[01-12]`, `rack[a:c]`.

use anyhow::{Context as _, Result, ensure};

use crate::hosts::MOST;

/// All hosts of a pattern; one without a range stands for itself.
pub(super) fn expand(pattern: &str) -> Result<Vec<String>> {
    let open = pattern.find('[');
    let range = open.and_then(|start| {
        let end = start + pattern[start..].find(']')?;
        // `[::1]` is an address
        let inner = &pattern[start + 1..end];
        inner
            .parse::<std::net::Ipv6Addr>()
            .is_err()
            .then_some((start, inner, end))
    });
    let Some((start, inner, end)) = range else {
        return Ok(vec![pattern.to_owned()]);
    };
    let words = words(inner).with_context(|| format!("the range {pattern:?}"))?;
    let mut hosts = Vec::new();
    for tail in expand(&pattern[end + 1..])? {
        for word in &words {
            hosts.push(format!("{}{word}{tail}", &pattern[..start]));
            ensure!(
                hosts.len() <= MOST,
                "{pattern:?} means more than {MOST} hosts"
            );
        }
    }
    Ok(hosts)
}

fn words(inner: &str) -> Result<Vec<String>> {
    let mut parts = inner.split([':', '-']);
    let (Some(from), Some(to)) = (parts.next(), parts.next()) else {
        anyhow::bail!("it has no end, as in [1:4]");
    };
    let step: usize = parts
        .next()
        .map_or(Ok(1), str::parse)
        .context("its step is no number")?;
    ensure!(
        step > 0 && parts.next().is_none(),
        "it is not like [1:4] or [1:9:2]"
    );
    let letter = |text: &str| match text.as_bytes() {
        [c] if c.is_ascii_alphabetic() => Some(*c),
        _ => None,
    };
    if let (Some(from), Some(to)) = (letter(from), letter(to)) {
        ensure!(from <= to, "it runs backwards");
        return Ok((from..=to)
            .step_by(step)
            .map(|c| char::from(c).to_string())
            .collect());
    }
    let (first, last): (usize, usize) = (
        from.parse().context("its first is no number")?,
        to.parse().context("its last is no number")?,
    );
    ensure!(first <= last, "it runs backwards");
    ensure!(last - first <= MOST, "it means more than {MOST} hosts");
    let width = from.len();
    Ok((first..=last)
        .step_by(step)
        .map(|n| format!("{n:0width$}"))
        .collect())
}
