//! The only place that starts processes: bounded in time and output, and ended when nobody waits for them any more.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader,
};

/// Longest line that is read. What a board says of the thousand tests of an image (`selftest -f json`) is one line of half a
/// megabyte.
const LINE: u64 = 8 * 1024 * 1024;
/// So much of what a program says on stderr is kept: the end of it says why.
const WORDS: usize = 8 * 1024;

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// The last lines of its stdout.
    pub last: String,
    /// The end of what it said on stderr.
    pub words: String,
}

/// Runs a program with this input; each line of its output is told as it comes.
pub async fn run(
    program: &str,
    arguments: &[String],
    input: &[u8],
    limit: Duration,
    tell: &mut (dyn FnMut(&str) + Send),
) -> Result<Ended> {
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(if input.is_empty() {
            Stdio::null()
        } else {
            Stdio::piped()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("starting {program}"))?;
    let out = child.stdout.take().context("its output")?;
    let err = child.stderr.take().context("its words")?;
    let feed = child.stdin.take();
    let all = async {
        let feeding = async {
            if let Some(mut feed) = feed {
                // one that does not read to the end says itself why
                drop(feed.write_all(input).await);
            }
        };
        let (last, words, ()) = tokio::join!(lines(out, tell), tail(err), feeding);
        let status = child
            .wait()
            .await
            .with_context(|| format!("waiting for {program}"))?;
        Ok(Ended {
            code: status.code(),
            last: last?,
            words: words?,
        })
    };
    match tokio::time::timeout(limit, all).await {
        Ok(ended) => ended,
        Err(_) => bail!("{program} took longer than {} s", limit.as_secs()),
    }
}

/// Tells each line, and gives back the last.
async fn lines(
    from: impl AsyncRead + Unpin,
    tell: &mut (dyn FnMut(&str) + Send),
) -> Result<String> {
    let mut reader = BufReader::new(from);
    let mut last = String::new();
    loop {
        let mut line = Vec::new();
        let read = (&mut reader)
            .take(LINE)
            .read_until(b'\n', &mut line)
            .await?;
        if read == 0 {
            return Ok(last);
        }
        // half a line is no answer, and what is made of it would be a lie
        if read as u64 == LINE && !line.ends_with(b"\n") {
            bail!("it wrote a line of over {} MiB", LINE >> 20);
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if !text.is_empty() {
            tell(text);
            text.clone_into(&mut last);
        }
    }
}

async fn tail(mut from: impl AsyncRead + Unpin) -> Result<String> {
    let (mut kept, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(String::from_utf8_lossy(&kept).into_owned());
        }
        kept.extend_from_slice(&buffer[..read]);
        let over = kept.len().saturating_sub(WORDS);
        kept.drain(..over);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(script: &str) -> Result<Vec<String>> {
        let arguments = ["-c".to_owned(), script.to_owned()];
        let mut lines = Vec::new();
        let mut tell = |line: &str| lines.push(line.to_owned());
        run("sh", &arguments, &[], Duration::from_mins(1), &mut tell).await?;
        Ok(lines)
    }

    #[tokio::test]
    async fn a_long_answer_in_one_line_is_told_whole_and_one_without_end_is_refused() {
        let lines = told("printf '%0600000d\\n' 1; echo end").await.unwrap();
        let lengths: Vec<usize> = lines.iter().map(String::len).collect();
        assert_eq!(lengths, [600_000, 3]);
        let e = told("yes | tr -d '\\n'").await.unwrap_err();
        assert!(e.to_string().contains("over 8 MiB"), "{e:#}");
    }
}
